from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from deepsal.rf.mapping.engine.shared_forward import SharedForwardMode
from deepsal.rf.mapping.engine.windowed_gradient import (
    Box,
    WindowedGradient,
    bounding_box,
    convolution_backward,
)
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


IMAGE_SIZE = (13, 17)
WHOLE = Box(0, 13, 0, 17)
NEEDED = [None, Box(3, 9, 5, 12), Box(0, 2, 0, 17), Box(12, 13, 16, 17), Box(0, 0, 0, 0)]
CONVOLUTIONS = {
    "plain": nn.Conv2d(4, 6, 3, padding=1),
    "without padding": nn.Conv2d(4, 6, 3),
    "pointwise": nn.Conv2d(4, 6, 1),
    "pointwise, padded": nn.Conv2d(4, 6, 1, padding=2),
    "pointwise, strided": nn.Conv2d(4, 6, 1, stride=2),
    "pointwise, in groups": nn.Conv2d(4, 6, 1, groups=2),
    "strided": nn.Conv2d(4, 6, 3, stride=2, padding=1),
    "stride beyond the kernel": nn.Conv2d(4, 6, 2, stride=3),
    "patches": nn.Conv2d(4, 6, 4, stride=4),
    "dilated": nn.Conv2d(4, 6, 3, padding=2, dilation=2),
    "dilated and strided": nn.Conv2d(4, 6, 3, stride=2, padding=3, dilation=3),
    "even": nn.Conv2d(4, 6, 2, padding=1),
    "another in each direction": nn.Conv2d(4, 6, (3, 4), (2, 3), (0, 2), (2, 1)),
    "a row": nn.Conv2d(4, 6, (1, 7), padding=(0, 3)),
    "depthwise": nn.Conv2d(4, 4, 3, padding=1, groups=4),
    "depthwise, multiplied": nn.Conv2d(4, 8, 5, 2, padding=2, groups=4),
    "groups": nn.Conv2d(4, 6, 3, padding=1, groups=2, bias=False),
    "large": nn.Conv2d(4, 6, 11, stride=4, padding=2),
}


def boxes(rows: int, columns: int) -> list[Box]:
    """Whole, corners, single cells, one empty, and five at random."""
    generator = torch.Generator().manual_seed(rows * columns)
    cases = [Box(0, rows, 0, columns), Box(0, 1, 0, 1), Box(rows - 1, rows, 0, columns)]
    cases += [Box(0, 0, 0, 0), Box(rows // 2, rows // 2, 0, columns)]
    for _ in range(5):
        top, left = (int(torch.randint(n, (), generator=generator)) for n in (rows, columns))
        bottom = top + 1 + int(torch.randint(rows - top, (), generator=generator))
        right = left + 1 + int(torch.randint(columns - left, (), generator=generator))
        cases.append(Box(top, bottom, left, right))
    return cases


def image(batch: int = 2, channels: int = 4, size: tuple[int, int] = IMAGE_SIZE) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, channels, *size, generator=generator, requires_grad=True)


def masked(whole: Tensor, box: Box | None) -> Tensor:
    if box is None:
        return whole
    return WindowedGradient(box.cut(whole), box, whole.shape[-2:]).dense()


def carried(run: Callable[[Tensor], Tensor], x: Tensor) -> None:
    """Compare an operator's rule with autograd, in all boxes."""
    output = run(x)
    for at in boxes(*output.shape[-2:]):
        gradient = random_gradient(
            at, len(output), output.shape[1], (output.shape[2], output.shape[3])
        )
        (expected,) = torch.autograd.grad(output, x, gradient.dense(), retain_graph=True)
        (result,) = torch.autograd.grad(output, x, gradient, retain_graph=True)
        assert equals_dense(result, expected), at


@pytest.mark.parametrize("needed", NEEDED, ids=str)
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_a_convolution_gives_autograds_gradient_where_it_is_needed(
    name: str, needed: Box | None
) -> None:
    module = CONVOLUTIONS[name].requires_grad_(False)
    x = image()
    output = module(x)
    shape = module.stride, module.padding, module.dilation, False, [0, 0], module.groups
    for at in boxes(*output.shape[-2:]):
        gradient = random_gradient(at, 2, output.shape[1], (output.shape[2], output.shape[3]))
        (expected,) = torch.autograd.grad(output, x, gradient.dense(), retain_graph=True)
        mask = [True, False, False]
        for form in (gradient, gradient.dense()):
            result, *nothing = convolution_backward(
                form, x, module.weight, None, *shape, mask, gradient_box=needed
            )
            if needed is None:
                assert equals_dense(result, expected), at
            else:
                kept = result.box.intersection(needed)
                assert kept == result.box or result.window.numel() == 0
                assert equals_dense(result, masked(expected, needed)), at
        assert nothing == [None, None]


def test_a_convolutions_window_grows_by_its_reach_and_no_more() -> None:
    module = nn.Conv2d(4, 6, 3, padding=1)
    x = image()
    (result,) = torch.autograd.grad(
        module(x), x, random_gradient(Box(5, 7, 8, 9), 2, 6, IMAGE_SIZE)
    )
    assert isinstance(result, WindowedGradient)
    assert result.box == (4, 8, 7, 10)


def test_a_gradient_that_is_all_zero_becomes_an_empty_window() -> None:
    module = nn.Conv2d(4, 6, 3, padding=1)
    weight = module.weight.detach()
    rest = [1, 1], [1, 1], [1, 1], False, [0, 0], 1, [True, False, False]
    result, *_ = convolution_backward(torch.zeros(2, 6, *IMAGE_SIZE), image(), weight, None, *rest)
    assert result.window.numel() == 0
    assert equals_dense(result, torch.zeros(2, 4, *IMAGE_SIZE))


def test_a_gradient_that_is_not_finite_is_not_lost() -> None:
    module = nn.Conv2d(4, 6, 1)
    gradient = torch.zeros(2, 6, *IMAGE_SIZE)
    gradient[0, 0, 5, 6] = torch.nan
    rest = [1, 1], [0, 0], [1, 1], False, [0, 0], 1, [True, False, False]
    result, *_ = convolution_backward(gradient, image(), module.weight.detach(), None, *rest)
    assert result.box == (5, 6, 6, 7)
    assert result.window[0].isnan().all()


def test_gradients_to_weights_and_transposed_convolutions_are_not_ours() -> None:
    module, x = nn.Conv2d(4, 6, 3, padding=1), image()
    upwards = nn.ConvTranspose2d(4, 6, 3, stride=2).requires_grad_(False)
    for run, inputs in ((module, [x, module.weight]), (upwards, [x])):
        expected = torch.autograd.grad(run(x).square().sum(), inputs)
        with SharedForwardMode():
            result = torch.autograd.grad(run(x).square().sum(), inputs)
        for one, other in zip(result, expected, strict=True):
            assert equals_dense(one, other, windowed=False)


@pytest.mark.parametrize("affine", [True, False])
def test_batch_norm_in_eval_mode_keeps_the_window(affine: bool) -> None:
    module = nn.BatchNorm2d(4, affine=affine).eval().requires_grad_(False)
    module.get_buffer("running_var").copy_(torch.tensor([0.1, 1.0, 2.0, 9.0]))
    module.get_buffer("running_mean").normal_()
    if affine:
        module.weight.data = torch.tensor([1.0, -2.0, 0.5, 3.0])
    carried(module, image())


def test_batch_norm_with_statistics_of_the_batch_sees_the_whole() -> None:
    module = nn.BatchNorm2d(4, track_running_stats=False).requires_grad_(False)
    x = image()
    gradient = random_gradient(Box(2, 5, 3, 9), 2, 4, IMAGE_SIZE)
    (expected,) = torch.autograd.grad(module(x), x, gradient.dense())
    (result,) = torch.autograd.grad(module(x), x, gradient)
    assert equals_dense(result, expected, windowed=False)


@pytest.mark.parametrize(
    "module",
    [
        nn.MaxPool2d(2),
        nn.MaxPool2d(3, 2),
        nn.MaxPool2d(3, 2, padding=1),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.MaxPool2d(3, 1, padding=1, dilation=2),
        nn.MaxPool2d((2, 5), (3, 1), padding=(0, 2), ceil_mode=True),
        nn.MaxPool2d(1, 2),
        nn.MaxPool2d(2, 5),
    ],
    ids=str,
)
def test_max_pooling_puts_each_gradient_where_the_maximum_was(module: nn.Module) -> None:
    carried(module, image())
    shared = image(1).detach().requires_grad_()
    output, indices = aten.max_pool2d_with_indices(shared.expand(3, -1, -1, -1), 3, 2)
    gradient = random_gradient(Box(1, 4, 2, 7), 3, 4, (output.shape[2], output.shape[3]))
    kernel = [3, 3], [2, 2], [0, 0], [1, 1], False
    rule = aten.max_pool2d_with_indices_backward
    same_indices = indices[:1].expand(3, -1, -1, -1)
    expanded = shared.detach().expand(3, -1, -1, -1)
    result = rule(gradient, expanded, *kernel, same_indices)
    assert equals_dense(result, rule(gradient.dense(), expanded.contiguous(), *kernel, indices))


def test_the_sum_of_two_windows_lies_in_their_hull() -> None:
    for one in boxes(*IMAGE_SIZE):
        for other in boxes(*IMAGE_SIZE):
            a, b = random_gradient(one, size=IMAGE_SIZE), random_gradient(other, size=IMAGE_SIZE)
            assert equals_dense(a + b, a.dense() + b.dense())
    a = random_gradient(Box(1, 3, 2, 4), size=IMAGE_SIZE)
    b = random_gradient(Box(2, 6, 1, 3), size=IMAGE_SIZE)
    hull = a + b
    assert isinstance(hull, WindowedGradient)
    assert hull.box == (1, 6, 1, 4)


def test_a_sum_with_anything_else_sees_the_whole() -> None:
    a, b = (
        random_gradient(Box(1, 3, 2, 4), size=IMAGE_SIZE),
        random_gradient(Box(1, 3, 2, 4), size=IMAGE_SIZE),
    )
    whole = torch.rand(2, 4, *IMAGE_SIZE)
    assert equals_dense(a + whole, a.dense() + whole, windowed=False)
    assert equals_dense(whole + a, a.dense() + whole, windowed=False)
    assert equals_dense(torch.add(a, b, alpha=3), a.dense() + 3 * b.dense(), windowed=False)
    assert equals_dense(a + 1, a.dense() + 1, windowed=False)
    assert (a + 0) is a


@pytest.mark.parametrize("pad", [(1, 2, 3, 4), (0, 1, 0, 1), (6, 6, 6, 6), (-2, -1, -3, 0)])
def test_padding_is_cut_off_also_where_it_holds_the_whole_window(pad: tuple[int, ...]) -> None:
    x = image()
    if min(pad) >= 0:
        carried(lambda x: functional.pad(x, pad), x)
        return
    output = functional.pad(x, pad)
    gradient = random_gradient(Box(2, 5, 3, 9), 2, 4, (output.shape[2], output.shape[3]))
    (expected,) = torch.autograd.grad(output, x, gradient.dense(), retain_graph=True)
    (result,) = torch.autograd.grad(output, x, gradient)
    assert equals_dense(result, expected, windowed=False)


def test_channels_are_taken_apart_where_maps_were_joined() -> None:
    x = image()
    for at in boxes(*IMAGE_SIZE):
        gradient = random_gradient(at, 2, 12, IMAGE_SIZE)
        joined = torch.cat([x, 2 * x, x.square()], 1)
        (expected,) = torch.autograd.grad(joined, x, gradient.dense(), retain_graph=True)
        (result,) = torch.autograd.grad(joined, x, gradient)
        assert equals_dense(result, expected)
    assert equals_dense(gradient[:, 3:7:2], gradient.dense()[:, 3:7:2])
    assert equals_dense(gradient[1:], gradient.dense()[1:], windowed=False)
