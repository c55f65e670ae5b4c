"""The part of the image that a unit can see at all: size, stride and offset of its field."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from deepsal.rf.units import layer, undisturbed, until

STRIP = 64
LONGEST = 4096


@dataclass(frozen=True)
class Geometry:
    """The theoretical receptive field of a layer; pairs are (vertical, horizontal).

    Unit (v, u) sees the pixels from (v·stride − offset) on, `size` of them. A layer with global
    context (squeeze-excite, attention, global pooling) has no size: None.
    """

    size: tuple[int, int] | None
    stride: tuple[int, int]
    offset: tuple[int, int]


def geometry(network: nn.Module, name: str) -> Geometry:
    """Measure a layer's theoretical field, whatever the network's graph.

    A half-plane of NaN pixels turns exactly those units NaN whose field reaches into it. How many
    they are, as the plane moves by up to one stride, gives the field's two ends.

    Args:
        network: any module that takes (1, 3, h, w).
        name: dotted name of the layer.

    Raises:
        ValueError: no such layer.
    """
    module = layer(network, name)
    parameter = next(network.parameters())
    with undisturbed(network), torch.no_grad():
        run = until(network, module)
        rows, columns = (_axis(partial(_blinded, run, parameter, axis)) for axis in (0, 1))
    size = None if rows.size is None or columns.size is None else (rows.size, columns.size)
    return Geometry(size, (rows.stride, columns.stride), (rows.offset, columns.offset))


class _Axis(NamedTuple):
    size: int | None
    stride: int
    offset: int


def _blinded(
    run: Callable[[Tensor], Tensor], like: Tensor, axis: int, span: int, end: int, pixels: int
) -> tuple[int, int]:
    """Blind some pixels at one end of a strip; return (how many units turn NaN, of how many)."""
    image = torch.zeros(1, 3, span, STRIP, device=like.device, dtype=like.dtype)
    image[:, :, slice(pixels) if end == 0 else slice(span - pixels, None)] = torch.nan
    output = run(image if axis == 0 else image.transpose(2, 3))
    if axis == 1:
        output = output.transpose(2, 3)
    nan = output[0].isnan().any(0).any(1)
    return int(nan.sum()), len(nan)


def _axis(blinded: Callable[[int, int, int], tuple[int, int]]) -> _Axis:
    span = 512
    while True:
        half = span // 2
        counts, units = zip(*(blinded(span, end, half) for end in (0, 1)), strict=True)
        stride = 2 ** round(torch.tensor(span / units[0]).log2().item())
        if max(counts) < units[0]:
            break
        span *= 2
        if span > LONGEST:
            return _Axis(None, stride, 0)
    reach = [_reach(partial(blinded, span, end), half, counts[end], stride) for end in (0, 1)]
    # from the left: unit u is blinded by p pixels if u·S − offset < p
    offset = reach[0]
    # from the right: unit n−1−j is blinded by p pixels if (j+1)·S + (size − S − offset) > … − p
    size = reach[1] + offset + stride - (units[0] * stride - span)
    return _Axis(size, stride, offset)


def _reach(blinded: Callable[[int], tuple[int, int]], pixels: int, count: int, stride: int) -> int:
    """Return how far the units see beyond their own cell towards the blinded end.

    count(p) = ceil((p + reach) / S); the largest p with the same count makes that exact.
    """
    low, high = pixels, pixels + stride
    while high - low > 1:
        middle = (low + high) // 2
        if blinded(middle)[0] == count:
            low = middle
        else:
            high = middle
    return count * stride - low
