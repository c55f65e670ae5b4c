import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from deepsal.rf.geometry import FieldGeometry
from deepsal.rf.mapping.align import AlignedFieldSum
from deepsal.rf.mapping.engine.windowed_gradient import Box
from deepsal.rf.mapping.gradient_fields import map_receptive_fields

GEOMETRY = FieldGeometry((3, 3), (1, 1), (1, 1))
AT = np.array([[4, 5]])


def add(
    aligned: AlignedFieldSum,
    patch: int,
    value: NDArray[np.float32],
    box: Box,
    activation: float,
    at: tuple[int, int] = (4, 5),
) -> None:
    """Add a field of the unit in row 0, whose crop starts where the image does."""
    first = torch.from_numpy(aligned.first(np.array([at])))
    unit, of_patch = torch.tensor([0]), torch.tensor([patch])
    aligned.add(unit, of_patch, first, torch.tensor(value[None]), box, torch.tensor([activation]))


def test_answers_are_laid_over_each_other_on_the_unit() -> None:
    aligned = AlignedFieldSum(GEOMETRY, (9, 9), (1, 3), None, keep=False)
    value = np.arange(81, dtype=np.float32).reshape(1, 9, 9).repeat(3, 0)
    add(aligned, 0, value, Box(0, 9, 0, 9), 1.0)
    add(aligned, 1, value, Box(0, 9, 0, 9), 2.0, at=(0, 0))
    first, corner = value[0, 3:6, 4:7], np.pad(value[0, :2, :2], ((1, 0), (1, 0)))
    assert np.array_equal(aligned.mean()[0, 0], (first + corner) / 2)
    assert aligned.centre(np.array([[4, 5], [0, 0]])).tolist() == [[4, 5], [0, 0]]
    assert aligned.activation.isfinite().tolist() == [[True, True, False]]


def test_many_units_and_patches_added_together_equal_those_added_one_by_one() -> None:
    generator = torch.Generator().manual_seed(0)
    unit, patch = torch.tensor([1, 0, 1, 1]), torch.tensor([0, 1, 2, 1])
    value = torch.rand(4, 3, 5, 6, generator=generator)
    first = torch.tensor([[0, 0], [2, 3], [-2, 1], [4, 5]])
    box, activation = Box(1, 6, 2, 8), torch.arange(4.0)
    together, single = (
        AlignedFieldSum(GEOMETRY, (9, 9), (2, 3), None, keep=True) for _ in range(2)
    )
    together.add(unit, patch, first, value, box, activation)
    for i in range(4):
        one = slice(i, i + 1)
        single.add(unit[one], patch[one], first[one], value[one], box, activation[one])
    assert together.each is not None
    assert single.each is not None
    assert torch.equal(together.each, single.each)
    assert together.each[1, 0, :, 1:, 2:].any(), "a part of the box lies in the window"
    torch.testing.assert_close(together.total, single.total)
    assert np.array_equal(together.activation, single.activation, equal_nan=True)


def test_the_direction_in_which_patches_differ_is_found() -> None:
    aligned = AlignedFieldSum(GEOMETRY, (9, 9), (1, 4), None, keep=True)
    direction = np.zeros((3, 3, 3), dtype=np.float32)
    direction[1, 2, 0] = 1
    for k, size in enumerate((-3, -1, 1, 3)):
        add(aligned, k, 7 + size * direction, Box(3, 6, 4, 7), 0.0)
    component, variance = aligned.components(2)
    assert abs(component[0, 0, 1, 2, 0]) == pytest.approx(1, abs=1e-5)
    assert variance[0, 0] == pytest.approx(np.var([-3, -1, 1, 3], ddof=1), rel=1e-5)
    assert aligned.components(4)[1].shape == (1, 4)
    assert np.isnan(aligned.components(4)[1][0, 3])


def first(images: int) -> NDArray[np.int64]:
    return np.array([[[i, 0, 0] for i in range(images)]])


def test_the_two_directions_in_which_a_field_varies_are_found() -> None:
    """z = w·x + (a·x)²/2 + (b·x)²/2 has the gradient w + (a·x)a + (b·x)b."""
    directions = torch.linalg.qr(torch.randn(27, 3, generator=torch.Generator().manual_seed(1)))[0]
    layer = nn.Conv2d(3, 3, 3, bias=False)
    layer.weight.data = directions.T.reshape(3, 3, 3, 3)

    class Energy(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            return z[:, :1] + (z[:, 1:] ** 2).sum(1, keepdim=True) / 2

    network = nn.Sequential(layer, Energy())
    images = torch.randn(40, 3, 3, 3, generator=torch.Generator().manual_seed(2))
    images.view(40, 27)[:] += 2 * torch.outer(
        images.view(40, 27) @ directions[:, 1], directions[:, 1]
    )
    found = map_receptive_fields(network, "1", images, first(40), [0], components=4)
    answers = images.view(40, 27) @ directions
    (mix, variance) = np.linalg.eigh(np.cov(answers[:, 1:].T.numpy()))[::-1]
    assert found.variance[0, :2] == pytest.approx(variance[::-1], rel=1e-4)
    assert (found.variance[0, 2:] < 1e-6).all() or np.isnan(found.variance[0, 2:]).all()
    for c in range(2):
        expected = directions[:, 1:].numpy() @ mix[:, 1 - c]
        assert abs(found.component[0, c].ravel() @ expected) == pytest.approx(1, abs=1e-4)
    few = map_receptive_fields(network, "1", images[:3], first(3), [0], components=4)
    assert np.isfinite(few.variance[0]).tolist() == [True, True, False, False]
    assert np.isnan(few.component[0, 2:]).all()


def test_a_window_around_an_even_field_is_its_middle_or_the_pixel_before() -> None:
    geometry = FieldGeometry((8, 9), (4, 4), (2, 3))
    whole = AlignedFieldSum(geometry, (64, 64), (1, 1), None, keep=False)
    for window, shift in ((6, 0), (5, -0.5), (1, -0.5)):
        small = AlignedFieldSum(geometry, (64, 64), (1, 1), window, keep=False)
        for aligned in (whole, small):
            add(aligned, 0, np.ones((3, 1, 1), dtype=np.float32), Box(4, 5, 5, 6), 0.0)
        assert small.sides == [window, window]
        expected = whole.centre(AT)[0] + [shift, 0 if window % 2 else -0.5]
        assert small.centre(AT)[0].tolist() == expected.tolist()
    assert whole.centre(AT)[0].tolist() == [4 * 4 - 2 + 3.5, 5 * 4 - 3 + 4]


def test_an_answer_outside_the_window_or_without_a_cell_adds_nothing() -> None:
    aligned = AlignedFieldSum(GEOMETRY, (9, 9), (1, 2), None, keep=True)
    add(aligned, 0, np.ones((3, 2, 2), dtype=np.float32), Box(0, 2, 0, 2), 1.0)
    add(aligned, 1, np.ones((3, 0, 0), dtype=np.float32), Box(0, 0, 0, 0), 2.0)
    assert not aligned.mean().any()
    assert aligned.activation.tolist() == [[1, 2]]


def test_global_context_is_laid_over_the_middle_of_a_units_own_cell() -> None:
    aligned = AlignedFieldSum(FieldGeometry(None, (8, 8), (0, 0)), (32, 48), (1, 1), 9, keep=False)
    ones = np.ones((3, 32, 48), dtype=np.float32)
    add(aligned, 0, ones, Box(0, 32, 0, 48), 1.0, at=(2, 3))
    assert np.abs(aligned.centre(np.array([[2, 3]]))[0] - [2 * 8 + 3.5, 3 * 8 + 3.5]).max() <= 0.5
    assert aligned.mean().all()
