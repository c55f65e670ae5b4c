import pytest
import torch
from torch import nn
from torch.nn import functional

from deepsal.rf.mapping.engine.windowed_gradient import Box, bounding_box
from tests.rf.support import equals_dense, random_gradient

aten = torch.ops.aten
SIZE = (9, 12)
BOXES = [Box(2, 6, 3, 10), Box(0, 9, 0, 12), Box(8, 9, 11, 12), Box(4, 4, 5, 5), Box(0, 3, 7, 7)]


def test_a_box_is_moved_and_cut_and_an_empty_cut_has_no_negative_side() -> None:
    at = Box(2, 6, 3, 10)
    assert at.shifted(-1, 2) == (1, 5, 5, 12)
    assert at.intersection(Box(4, 9, 0, 5)) == (4, 6, 3, 5)
    for other in (Box(-9, -7, 0, 12), Box(20, 30, 0, 12), Box(3, 3, 4, 4)):
        cut = at.intersection(other)
        assert cut.bottom == cut.top
        assert cut.right >= cut.left


def test_the_smallest_box_is_found_over_batch_and_channels() -> None:
    mask = torch.zeros(2, 3, *SIZE, dtype=torch.bool)
    assert bounding_box(mask) == (0, 0, 0, 0)
    mask[0, 1, 2, 5] = mask[1, 2, 7, 3] = True
    assert bounding_box(mask) == (2, 8, 3, 6)


def test_the_whole_is_zero_outside_the_box() -> None:
    gradient = random_gradient(BOXES[0])
    whole = gradient.dense()
    assert gradient.shape == whole.shape == (2, 4, *SIZE)
    assert torch.equal(whole[:, :, 2:6, 3:10], gradient.window)
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
    gradient = random_gradient(at)
    (expected,) = torch.autograd.grad(activation(image), image, gradient.dense())
    (carried,) = torch.autograd.grad(activation(image), image, gradient)
    assert equals_dense(carried, expected)


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
    gradient = random_gradient(at)
    for operator in (aten.mul.Tensor, aten.div.Tensor):
        assert equals_dense(operator(gradient, factor), operator(gradient.dense(), factor))


def test_a_square_map_does_not_take_columns_for_rows() -> None:
    gradient = random_gradient(Box(1, 3, 4, 7), size=(8, 8))
    for shape in ((8,), (8, 1), (1, 8), (8, 8)):
        factor = torch.rand(shape) + 0.5
        assert equals_dense(gradient * factor, gradient.dense() * factor)


@pytest.mark.parametrize("size", [(1, 1), (1, 12), (9, 1)])
def test_a_factor_that_makes_the_map_larger_sees_the_whole(size: tuple[int, int]) -> None:
    gradient = random_gradient(Box(0, 1, 0, 1), size=size)
    factor = torch.rand(2, 4, *SIZE)
    assert equals_dense(gradient * factor, gradient.dense() * factor, windowed=False)
    deeper = torch.rand(3, 2, 4, *size)
    assert equals_dense(gradient * deeper, gradient.dense() * deeper, windowed=False)


@pytest.mark.parametrize("at", BOXES)
def test_two_windows_are_multiplied_as_wholes(at: Box) -> None:
    one, other = random_gradient(at), random_gradient(BOXES[0])
    assert equals_dense(one * other, one.dense() * other.dense(), windowed=False)
    factor = torch.rand(2, 4, *SIZE)
    assert equals_dense(factor * one, factor * one.dense(), windowed=False)


@pytest.mark.parametrize("at", BOXES)
def test_an_operator_without_a_rule_sees_the_whole(at: Box) -> None:
    gradient = random_gradient(at)
    whole = gradient.dense()
    assert equals_dense(gradient.exp(), whole.exp(), windowed=False)
    assert equals_dense(gradient.sum((2, 3)), whole.sum((2, 3)), windowed=False)
    assert equals_dense(gradient.permute(0, 2, 3, 1), whole.permute(0, 2, 3, 1), windowed=False)
    assert equals_dense(
        torch.cat([whole, gradient], 1), torch.cat([whole, whole], 1), windowed=False
    )
    assert equals_dense(gradient[:, :, 3:], whole[:, :, 3:], windowed=False)
    softer = functional.interpolate(gradient, scale_factor=2.0)
    assert equals_dense(softer, functional.interpolate(whole, scale_factor=2.0), windowed=False)


@pytest.mark.parametrize("at", BOXES)
def test_copies_negatives_and_quotients_keep_the_window(at: Box) -> None:
    gradient = random_gradient(at)
    whole = gradient.dense()
    assert equals_dense(-gradient, -whole)
    assert equals_dense(gradient.clone(), whole)
    assert equals_dense(gradient.detach(), whole)
    assert equals_dense(gradient / 3, whole / 3)
    assert equals_dense(torch.relu(gradient), torch.relu(whole))
