import importlib
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from torchvision.models import alexnet
from torchvision.models.resnet import BasicBlock
from torchvision.models.vgg import cfgs, make_layers

from deepsal.rf.backprojection.clamp import clamp_backprojection, clampable_chain
from deepsal.rf.geometry import chain_geometry
from tests.conftest import NoTrace, backbone


def features(name: str, pool: int) -> list[nn.Module]:
    """torchvision's features up to a pooling, without the classifier's many weights."""
    torch.manual_seed(0)
    layers = alexnet(weights=None).features if name == "alexnet" else make_layers(cfgs[name])
    return [*layers][: poolings([*layers])[pool - 1]]


def poolings(layers: list[nn.Module]) -> list[int]:
    return [i for i, layer in enumerate(layers, 1) if isinstance(layer, nn.MaxPool2d)]


def narrow(letter: str, width: int = 2) -> list[nn.Module]:
    """A VGG of two channels a layer and positive equal kernels."""
    layers = make_layers([n if n == "M" else width for n in cfgs[letter]])
    return positive([*layers])


def positive(layers: list[nn.Module]) -> list[nn.Module]:
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.constant_(layer.weight, 1 / layer.weight[:, 0].numel())
    return layers


def kernel(weight: list[list[float]], padding: int = 0) -> nn.Conv2d:
    """A convolution to one channel, with the same kernel for all three colours."""
    one = torch.tensor(weight)
    convolution = nn.Conv2d(3, 1, (len(weight), len(weight[0])), padding=padding)
    convolution.weight.data = one.expand(1, 3, *one.shape).clone()
    return convolution


def bounds(pattern: NDArray[np.float32]) -> list[tuple[int, int]]:
    """First and last row, and column, that are not zero."""
    ends = [np.flatnonzero(pattern.any(axes))[[0, -1]].tolist() for axes in ((0, 1, 3), (0, 1, 2))]
    return [(first, last) for first, last in ends]


@pytest.mark.parametrize(
    ("rectify", "upsample", "expected"),
    [
        # a 2×2 square of 2, convolved with the kernel; worked out by hand
        ("none", "repeat", [[2, 0, -2, 0], [6, 4, -2, 0], [4, 4, 2, 2], [0, 0, 2, 2]]),
        ("every", "repeat", [[2, 0, 0, 0], [6, 4, 0, 0], [4, 4, 2, 2], [0, 0, 2, 2]]),
        ("inner", "repeat", [[2, 0, -2, 0], [6, 4, -2, 0], [4, 4, 2, 2], [0, 0, 2, 2]]),
        ("none", "insert", [[2, -2, 0, 0], [4, 0, 0, 0], [0, 0, 2, 0], [0, 0, 0, 0]]),
    ],
)
def test_one_convolution_by_hand(rectify: str, upsample: str, expected: list[list[float]]) -> None:
    convolution = kernel([[1.0, -1, 0], [2, 0, 0], [0, 0, 1]], padding=1)
    layers = [convolution, nn.ReLU(), nn.MaxPool2d(2)]
    pattern = clamp_backprojection(layers, [0], 2.0, rectify, upsample)
    assert pattern.shape == (1, 3, 6, 6)
    assert pattern.dtype == np.float32
    assert pattern[0, 1, 1:5, 1:5].tolist() == expected
    assert np.abs(pattern[0, 2]).sum() == np.abs(expected).sum()


@pytest.mark.parametrize(
    ("rectify", "expected"), [("every", [1, 0, 3]), ("inner", [1, -2, 3]), ("none", [-3, -7, -3])]
)
def test_where_the_rectifiers_are_by_hand(rectify: str, expected: list[float]) -> None:
    first, second = nn.Conv2d(3, 2, 1), nn.Conv2d(2, 1, 1)
    first.weight.data = torch.tensor([[1.0, -2, 3], [4, 5, 6]])[..., None, None]
    second.weight.data = torch.tensor([[1.0, -1]])[..., None, None]
    pattern = clamp_backprojection(
        [first, nn.ReLU(), second, nn.ReLU(), nn.AvgPool2d(2)], [0], rectify=rectify
    )
    assert pattern.shape == (1, 3, 2, 2)
    assert pattern[0, :, 0, 1].tolist() == expected


@pytest.mark.parametrize(("name", "pool"), [("D", 3), ("E", 3), ("alexnet", 2)])
@pytest.mark.parametrize("rectify", ["every", "inner", "none"])
def test_it_is_positively_homogeneous(name: str, pool: int, rectify: str) -> None:
    chained = nn.Sequential(*features(name, pool)).double()
    one = clamp_backprojection(chained, [0, 5], 1.0, rectify)
    assert np.abs(one).max() > 0
    for c in (0.5, 3.0, 1000.0):
        many = clamp_backprojection(chained, [0, 5], c, rectify)
        assert np.abs(many - c * one).max() <= 1e-6 * c * np.abs(one).max()


def test_only_the_last_rectifier_hides_the_negative() -> None:
    chained = features("D", 2)
    every, inner = (clamp_backprojection(chained, range(4), rectify=r) for r in ("every", "inner"))
    assert every.min() == 0
    assert (inner.min((1, 2, 3)) < 0).all()
    assert np.array_equal(every, np.maximum(inner, 0))


@pytest.mark.parametrize(
    ("letter", "pool"), [(letter, pool) for letter in "DE" for pool in range(1, 6)]
)
def test_vgg_patterns_of_equal_kernels_fill_exactly_the_theoretical_field(
    letter: str, pool: int
) -> None:
    layers = narrow(letter)
    layers = layers[: poolings(layers)[pool - 1]]
    pattern = clamp_backprojection(layers, [1])
    (size, _), (stride, _) = chain_geometry(layers).size or (0, 0), chain_geometry(layers).stride
    canvas = pattern.shape[-1]
    assert pattern.shape == (1, 3, canvas, canvas)
    assert canvas // stride % 2 == 1
    assert size <= canvas < size + 2 * stride
    margin = (canvas - size) // 2
    assert bounds(pattern) == [(margin, margin + size - 1)] * 2
    assert np.allclose(pattern, pattern[..., ::-1], rtol=1e-4)
    assert np.allclose(pattern, pattern.swapaxes(-1, -2), rtol=1e-4)


def test_vgg19_has_the_papers_sizes_at_pool5() -> None:
    layers = narrow("E")
    full, cropped = clamp_backprojection(layers, [0]), clamp_backprojection(layers, [0], canvas=160)
    assert full.shape[-1] == 288
    assert cropped.shape[-1] == 160
    assert bounds(full) == [(10, 277)] * 2
    assert bounds(cropped) == [(0, 159)] * 2


@pytest.mark.parametrize(("pool", "size"), [(1, 15), (2, 55), (3, 167)])
def test_overlapping_pooling_counts_by_its_stride(pool: int, size: int) -> None:
    chained = positive(features("alexnet", pool))
    for i, layer in enumerate(chained):
        if isinstance(layer, nn.MaxPool2d):
            assert layer.kernel_size == 3
            chained[i] = nn.MaxPool2d(2, 2)
    assert chain_geometry(chained).size == (size, size)
    pattern = clamp_backprojection(positive(features("alexnet", pool)), [0])
    margin = (pattern.shape[-1] - size) // 2
    assert bounds(pattern) == [(margin, margin + size - 1)] * 2
    assert pattern.shape[-1] >= (chain_geometry(features("alexnet", pool)).size or (0,))[0]


SPANS = ((2, 6), (0, 3), (1, 3), (1, 3))  # kernel, padding, stride, dilation


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("seed", range(8))
def test_without_rectifiers_it_is_the_gradient_of_the_linear_chain(seed: int) -> None:
    torch.manual_seed(seed)
    draw = torch.Generator().manual_seed(seed)
    layers: list[nn.Module] = []
    for channels in (3, 4, 4):
        k, p, s, d = (int(torch.randint(*r, (), generator=draw)) for r in SPANS)
        groups = 2 if channels == 4 and seed % 2 else 1
        if seed % 3 == 0:
            layers.append(nn.Conv2d(channels, 4, (k, 3), padding="same", dilation=(d, 1)))
        else:
            layers.append(nn.Conv2d(channels, 4, (k, 3), s, (p, 1), (d, 1), groups))
        layers += [nn.Dropout(), nn.Sequential(nn.AvgPool2d((2, 1)))]
    network = nn.Sequential(*layers).double()
    pattern = clamp_backprojection(network, [2], 1.5, "none")
    image = torch.zeros(1, 3, *pattern.shape[-2:], dtype=torch.float64, requires_grad=True)
    pooled = network.eval()(image)[0, 2]
    assert pooled.shape[0] % 2 == pooled.shape[1] % 2 == 1
    pooled[pooled.shape[0] // 2, pooled.shape[1] // 2].backward()
    assert image.grad is not None
    # averaging over 2 pixels hands down a half of what repetition does
    assert np.allclose(pattern, 8 * 1.5 * image.grad.numpy(), atol=1e-6)


def test_a_batch_is_its_units_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    chained, units = features("D", 2), [7, 3, 3, 120]
    alone = np.concatenate([clamp_backprojection(chained, [unit]) for unit in units])
    assert np.abs(alone[0] - alone[1]).max() > 0.1 * alone.max()
    monkeypatch.setattr(
        importlib.import_module("deepsal.rf.backprojection.clamp"),
        "CANVAS_PIXELS_PER_PASS",
        3 * 20 * 20,
    )
    together = clamp_backprojection(chained, units)
    assert np.allclose(together, alone, atol=1e-6 * alone.max())
    assert clamp_backprojection(chained, []).shape == (0, *alone.shape[1:])


def test_a_chain_in_stages_or_with_shared_layers_is_the_same_chain() -> None:
    flat = features("D", 2)
    expected = clamp_backprojection(flat, [0])
    stages = nn.Sequential(*flat[:4]), nn.Sequential(*flat[4:9])
    assert np.array_equal(clamp_backprojection([*stages, flat[9]], [0]), expected)
    pool, relu = nn.MaxPool2d(2), nn.ReLU()
    shared = [relu if isinstance(m, nn.ReLU) else m for m in flat]
    shared[4] = shared[9] = pool
    assert np.array_equal(clamp_backprojection(nn.Sequential(*shared), [0]), expected)


def test_a_smaller_canvas_is_cut_and_a_larger_one_only_adds_black() -> None:
    chained = features("D", 2)
    whole = clamp_backprojection(chained, [0])
    assert whole.shape[-1] == 20
    larger = clamp_backprojection(chained, [0], canvas=28)
    assert np.allclose(larger[..., 4:-4, 4:-4], whole, atol=1e-6 * whole.max())
    assert larger.sum() == pytest.approx(whole.sum(), rel=1e-5)
    smaller = clamp_backprojection(chained, [0], canvas=12)
    assert np.abs(smaller[..., 5:7, 5:7] - whole[..., 9:11, 9:11]).max() < 1e-6 * whole.max()


def test_the_network_is_left_as_it_was(leaves_no_trace: NoTrace) -> None:
    network = nn.Sequential(*features("D", 2)).train()
    generator = torch.get_rng_state()
    with leaves_no_trace(network):
        clamp_backprojection(network, [0])
    assert torch.equal(generator, torch.get_rng_state())


PLAIN = [kernel([[1.0]]), nn.ReLU(), nn.MaxPool2d(2)]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"modules": [kernel([[1.0]]), nn.BatchNorm2d(1)]}, "BatchNorm2d .*gradient"),
        ({"modules": [nn.Sequential(BasicBlock(3, 3))]}, 'BasicBlock .*method="gradient"'),
        ({"modules": backbone().children()}, "BatchNorm2d"),
        ({"modules": [nn.Conv2d(3, 3, 3, 1, 1, padding_mode="reflect")]}, "zeros"),
        ({"modules": [nn.MaxPool2d(2)]}, "3 colours"),
        ({"modules": [nn.Conv2d(8, 8, 3), nn.MaxPool2d(2)]}, "3 colours"),
        ({"units": [0, 1]}, r"0 … 0, not \[1\]"),
        ({"units": [-1]}, r"not \[-1\]"),
        ({"value": 0.0}, "value must be positive"),
        ({"value": -1.0}, "value must be positive"),
        ({"value": float("nan")}, "value must be positive"),
        ({"value": float("inf")}, "value must be positive"),
        ({"rectify": "last"}, r"\('every', 'inner', 'none'\), not 'last'"),
        ({"upsample": "bilinear"}, r"\('repeat', 'insert'\), not 'bilinear'"),
        ({"canvas": 8}, "8 pixels; the nearest are 6 and 10"),
        ({"canvas": 1}, "1 pixels; the nearest are 2"),
        ({"modules": [kernel([[float("nan")]])]}, "not finite"),
    ],
)
def test_bad_input_is_named(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        clamp_backprojection(**{"modules": PLAIN, "units": [0], **wrong})


def test_a_chain_is_clampable_exactly_where_the_clamp_takes_it() -> None:
    plain = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 2, 3, padding=1), nn.ReLU()),
        nn.Sequential(nn.MaxPool2d(2), nn.Dropout(), nn.Conv2d(2, 2, 3, padding=1)),
    )
    chain = clampable_chain(plain)
    assert chain
    assert chain[:-1] == [*plain]
    assert clamp_backprojection(chain, [0]).shape[:2] == (1, 3)
    circular = nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular")
    for other in (nn.BatchNorm2d(2), nn.LeakyReLU(), circular, BasicBlock(2, 2)):
        assert clampable_chain(nn.Sequential(*plain, nn.Sequential(other))) is None
    assert clampable_chain(backbone()) is None
