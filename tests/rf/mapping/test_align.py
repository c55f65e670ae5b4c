import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from deepsal.rf.geometry import FieldGeometry
from deepsal.rf.mapping.align import AlignedFieldSum
from deepsal.rf.mapping.engine.windowed_gradient import Box
from deepsal.rf.mapping.field_sampling import field_sampling

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
    first = torch.from_numpy(aligned.window_origins(np.array([at])))
    unit, of_patch = torch.tensor([0]), torch.tensor([patch])
    aligned.add(unit, of_patch, first, torch.tensor(value[None]), box, torch.tensor([activation]))


def test_answers_are_laid_over_each_other_on_the_unit() -> None:
    aligned = AlignedFieldSum(GEOMETRY, (9, 9), (1, 3), None)
    value = np.arange(81, dtype=np.float32).reshape(1, 9, 9).repeat(3, 0)
    add(aligned, 0, value, Box(0, 9, 0, 9), 1.0)
    add(aligned, 1, value, Box(0, 9, 0, 9), 2.0, at=(0, 0))
    first, corner = value[0, 3:6, 4:7], np.pad(value[0, :2, :2], ((1, 0), (1, 0)))
    assert np.array_equal(aligned.means().field[0, 0], (first + corner) / 2)
    assert aligned.window_centres(np.array([[4, 5], [0, 0]])).tolist() == [[4, 5], [0, 0]]
    assert aligned.activation.isfinite().tolist() == [[True, True, False]]


@pytest.mark.parametrize("window", [8, 9])
@pytest.mark.parametrize("geometry", [GEOMETRY, FieldGeometry(None, (4, 2), (0, 0))])
def test_windows_begin_where_those_of_noise_fields_do(geometry: FieldGeometry, window: int) -> None:
    aligned = AlignedFieldSum(geometry, (32, 32), (1, 1), window)
    noise = field_sampling(geometry, (32, 32), (8, 16), 1, window, "inside")
    (origin,) = aligned.window_origins(np.array([[0, 0]])).tolist()
    assert origin == [noise.rows.origin, noise.columns.origin]


def test_many_units_and_patches_added_together_equal_those_added_one_by_one() -> None:
    generator = torch.Generator().manual_seed(0)
    unit, patch = torch.tensor([1, 0, 1, 1]), torch.tensor([0, 1, 2, 1])
    value = torch.rand(4, 3, 5, 6, generator=generator)
    first = torch.tensor([[0, 0], [2, 3], [-2, 1], [4, 5]])
    box, activation = Box(1, 6, 2, 8), torch.arange(4.0)
    together, single = (AlignedFieldSum(GEOMETRY, (9, 9), (2, 3), None) for _ in range(2))
    together.add(unit, patch, first, value, box, activation)
    for i in range(4):
        one = slice(i, i + 1)
        single.add(unit[one], patch[one], first[one], value[one], box, activation[one])
    assert together.field_sum[1].any(), "a part of the box lies in the window"
    torch.testing.assert_close(together.field_sum, single.field_sum)
    assert np.array_equal(together.activation, single.activation, equal_nan=True)


def test_a_window_around_an_even_field_is_its_middle_or_the_pixel_before() -> None:
    geometry = FieldGeometry((8, 9), (4, 4), (2, 3))
    whole = AlignedFieldSum(geometry, (64, 64), (1, 1), None)
    for window, shift in ((6, 0), (5, -0.5), (1, -0.5)):
        small = AlignedFieldSum(geometry, (64, 64), (1, 1), window)
        for aligned in (whole, small):
            add(aligned, 0, np.ones((3, 1, 1), dtype=np.float32), Box(4, 5, 5, 6), 0.0)
        assert small.window_sides == [window, window]
        expected = whole.window_centres(AT)[0] + [shift, 0 if window % 2 else -0.5]
        assert small.window_centres(AT)[0].tolist() == expected.tolist()
    assert whole.window_centres(AT)[0].tolist() == [4 * 4 - 2 + 3.5, 5 * 4 - 3 + 4]


def test_an_answer_outside_the_window_or_without_a_cell_adds_nothing() -> None:
    aligned = AlignedFieldSum(GEOMETRY, (9, 9), (1, 2), None)
    add(aligned, 0, np.ones((3, 2, 2), dtype=np.float32), Box(0, 2, 0, 2), 1.0)
    add(aligned, 1, np.ones((3, 0, 0), dtype=np.float32), Box(0, 0, 0, 0), 2.0)
    assert not aligned.means().field.any()
    assert aligned.activation.tolist() == [[1, 2]]


def test_global_context_is_laid_over_the_middle_of_a_units_own_cell() -> None:
    aligned = AlignedFieldSum(FieldGeometry(None, (8, 8), (0, 0)), (32, 48), (1, 1), 9)
    ones = np.ones((3, 32, 48), dtype=np.float32)
    add(aligned, 0, ones, Box(0, 32, 0, 48), 1.0, at=(2, 3))
    assert (
        np.abs(aligned.window_centres(np.array([[2, 3]]))[0] - [2 * 8 + 3.5, 3 * 8 + 3.5]).max()
        <= 0.5
    )
    assert aligned.means().field.all()


def test_groups_of_patches_have_means_of_their_own() -> None:
    groups = np.array([[0, 1, 0]])
    aligned = AlignedFieldSum(GEOMETRY, (9, 9), (1, 3), None, groups=groups)
    for patch, value in enumerate((1.0, 2.0, 6.0)):
        ones = np.full((3, 9, 9), value, dtype=np.float32)
        add(aligned, patch, ones, Box(0, 9, 0, 9), 1.0)
    assert aligned.means().groups[0, :, 0, 1, 1].tolist() == [3.5, 2.0]
    assert aligned.means().field[0, 0, 1, 1] == 3
