import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from deepsal.rf.mapping.engine.windowed_gradient import Box, WindowedGradient, bounding_box

aten = torch.ops.aten
SIZE = (9, 12)
BOXES = [Box(2, 6, 3, 10), Box(0, 9, 0, 12), Box(8, 9, 11, 12), Box(4, 4, 5, 5), Box(0, 3, 7, 7)]


def random(
    at: Box, batch: int = 2, channels: int = 4, size: tuple[int, int] = SIZE
) -> WindowedGradient:
    generator = torch.Generator().manual_seed(sum(at))
    sides = at.bottom - at.top, at.right - at.left
    return WindowedGradient(torch.randn(batch, channels, *sides, generator=generator), at, size)


def same(found: object, expected: Tensor, windowed: bool = True) -> bool:
    assert isinstance(found, Tensor)
    assert isinstance(found, WindowedGradient) == windowed
    if isinstance(found, WindowedGradient):
        where = found.box
        sides = where.bottom - where.top, where.right - where.left
        assert found.inside.shape[-2:] == sides
        found = found.dense()
    return found.shape == expected.shape and torch.allclose(found, expected, atol=1e-6)


def test_a_box_is_moved_and_cut_and_an_empty_cut_has_no_negative_side() -> None:
    at = Box(2, 6, 3, 10)
    assert at.moved(-1, 2) == (1, 5, 5, 12)
    assert at.within(Box(4, 9, 0, 5)) == (4, 6, 3, 5)
    for other in (Box(-9, -7, 0, 12), Box(20, 30, 0, 12), Box(3, 3, 4, 4)):
        cut = at.within(other)
        assert cut.bottom == cut.top
        assert cut.right >= cut.left


def test_the_smallest_box_is_found_over_batch_and_channels() -> None:
    mask = torch.zeros(2, 3, *SIZE, dtype=torch.bool)
    assert bounding_box(mask) == (0, 0, 0, 0)
    mask[0, 1, 2, 5] = mask[1, 2, 7, 3] = True
    assert bounding_box(mask) == (2, 8, 3, 6)


def test_the_whole_is_zero_outside_the_box() -> None:
    gradient = random(BOXES[0])
    whole = gradient.dense()
    assert gradient.shape == whole.shape == (2, 4, *SIZE)
    assert torch.equal(whole[:, :, 2:6, 3:10], gradient.inside)
    whole[:, :, 2:6, 3:10] = 0
    assert not whole.any()


ACTIVATIONS = [
    nn.ReLU(),
    nn.ReLU6(),
    nn.LeakyReLU(0.1),
    nn.ELU(0.7),
    nn.SELU(),
    nn.GELU(),
    nn.GELU("tanh"),
    nn.SiLU(),
    nn.Hardswish(),
    nn.Hardsigmoid(),
    nn.Sigmoid(),
    nn.Tanh(),
    nn.Hardtanh(-0.5, 0.3),
    nn.Threshold(0.2, 0.0),
]


@pytest.mark.parametrize("at", BOXES)
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
def test_an_activation_keeps_the_window(activation: nn.Module, at: Box) -> None:
    image = 3 * torch.randn(2, 4, *SIZE, generator=torch.Generator().manual_seed(0))
    image.requires_grad_()
    gradient = random(at)
    (expected,) = torch.autograd.grad(activation(image), image, gradient.dense())
    (found,) = torch.autograd.grad(activation(image), image, gradient)
    assert same(found, expected)


@pytest.mark.parametrize("at", BOXES)
@pytest.mark.parametrize(
    "shape",
    [
        *[(), (1,), (12,), (9, 1), (1, 12), (4, 1, 1), (4, 9, 12), (2, 1, 9, 1), (2, 4, 1, 12)],
        *[(1, 4, 9, 12), (2, 4, 1, 1), (2, 4, 9, 12)],
    ],
    ids=str,
)
def test_a_factor_may_be_broadcast_along_any_axis(shape: tuple[int, ...], at: Box) -> None:
    factor = torch.rand(shape, generator=torch.Generator().manual_seed(0)) + 0.5
    gradient = random(at)
    for operator in (aten.mul.Tensor, aten.div.Tensor):
        assert same(operator(gradient, factor), operator(gradient.dense(), factor))


def test_a_square_map_does_not_take_columns_for_rows() -> None:
    gradient = random(Box(1, 3, 4, 7), size=(8, 8))
    for shape in ((8,), (8, 1), (1, 8), (8, 8)):
        factor = torch.rand(shape) + 0.5
        assert same(gradient * factor, gradient.dense() * factor)


@pytest.mark.parametrize("size", [(1, 1), (1, 12), (9, 1)])
def test_a_factor_that_makes_the_map_larger_sees_the_whole(size: tuple[int, int]) -> None:
    gradient = random(Box(0, 1, 0, 1), size=size)
    factor = torch.rand(2, 4, *SIZE)
    assert same(gradient * factor, gradient.dense() * factor, windowed=False)
    deeper = torch.rand(3, 2, 4, *size)
    assert same(gradient * deeper, gradient.dense() * deeper, windowed=False)


@pytest.mark.parametrize("at", BOXES)
def test_two_windows_are_multiplied_as_wholes(at: Box) -> None:
    one, other = random(at), random(BOXES[0])
    assert same(one * other, one.dense() * other.dense(), windowed=False)
    factor = torch.rand(2, 4, *SIZE)
    assert same(factor * one, factor * one.dense(), windowed=False)


@pytest.mark.parametrize("at", BOXES)
def test_an_operator_without_a_rule_sees_the_whole(at: Box) -> None:
    gradient = random(at)
    whole = gradient.dense()
    assert same(gradient.exp(), whole.exp(), windowed=False)
    assert same(gradient.sum((2, 3)), whole.sum((2, 3)), windowed=False)
    assert same(gradient.permute(0, 2, 3, 1), whole.permute(0, 2, 3, 1), windowed=False)
    assert same(torch.cat([whole, gradient], 1), torch.cat([whole, whole], 1), windowed=False)
    assert same(gradient[:, :, 3:], whole[:, :, 3:], windowed=False)
    softer = functional.interpolate(gradient, scale_factor=2.0)
    assert same(softer, functional.interpolate(whole, scale_factor=2.0), windowed=False)


@pytest.mark.parametrize("at", BOXES)
def test_copies_negatives_and_quotients_keep_the_window(at: Box) -> None:
    gradient = random(at)
    whole = gradient.dense()
    assert same(-gradient, -whole)
    assert same(gradient.clone(), whole)
    assert same(gradient.detach(), whole)
    assert same(gradient / 3, whole / 3)
    assert same(torch.relu(gradient), torch.relu(whole))
