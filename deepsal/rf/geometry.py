"""Theoretical receptive field of a layer: its size, stride and offset in the image."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain as joined
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.backends import cudnn

from deepsal.rf.hooks import find_layer, forward_until, temporary_eval_mode

_STRIP_WIDTH = 64
_SHORTEST_STRIP, _LONGEST_STRIP = 128, 4096
POINTWISE_MODULES = (
    *(nn.Identity, nn.Dropout, nn.Dropout2d, nn.BatchNorm2d, nn.LocalResponseNorm),
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Mish),
    *(nn.Sigmoid, nn.Tanh, nn.Softplus, nn.Hardtanh, nn.Hardsigmoid, nn.Hardswish),
)


@dataclass(frozen=True)
class FieldGeometry:
    """The theoretical receptive field of a layer; pairs are (vertical, horizontal).

    Unit (v, u) sees `size` pixels, the first of them at (v, u)·stride − offset. A layer with global
    context (squeeze-excite, attention, global pooling) has no size: None.
    """

    size: tuple[int, int] | None
    stride: tuple[int, int]
    offset: tuple[int, int]


def chain_geometry(modules: Iterable[nn.Module]) -> FieldGeometry:
    """Compute the field at the end of a chain of layers, without running it.

    size = Σ (k_l − 1) Π_{i<l} s_i + 1, stride = Π s_l and offset = Σ p_l Π_{i<l} s_i, with kernels
    k (dilated: d(k − 1) + 1), strides s and paddings p; Araujo, Norris & Sim 2019, "Computing
    Receptive Fields of Convolutional Neural Networks", Distill, doi:10.23915/distill.00021.

    Args:
        modules: convolutions, max and average pooling, pointwise layers (activations, batch norm
            in eval mode, dropout), and `nn.Sequential` of these; a network such as `features[:16]`.

    Raises:
        ValueError: a layer of another kind; use `measure_geometry`, which runs the network.

    >>> chain = [nn.Conv2d(3, 8, 7, stride=2, padding=3), nn.ReLU(), nn.MaxPool2d(3, 2, padding=1)]
    >>> chain_geometry(chain)
    FieldGeometry(size=(11, 11), stride=(4, 4), offset=(5, 5))
    """
    size, stride, offset = (1, 1), (1, 1), (0, 0)
    for reach, step, before in _kernel_steps(modules):
        size = size[0] + reach[0] * stride[0], size[1] + reach[1] * stride[1]
        offset = offset[0] + before[0] * stride[0], offset[1] + before[1] * stride[1]
        stride = step[0] * stride[0], step[1] * stride[1]
    return FieldGeometry(size, stride, offset)


def measure_geometry(network: nn.Module, name: str) -> FieldGeometry:
    """Measure a layer's theoretical field by running the network, whatever its graph.

    A half-plane of NaN pixels turns exactly those units NaN whose field reaches into it. Their
    number, as the plane moves by up to one stride, gives the two ends of the field.

    Args:
        network: any module that takes (1, 3, h, w).
        name: dotted name of the layer.

    Raises:
        ValueError: no such layer, or its output is not a map on a regular grid of whole pixels.

    >>> measure_geometry(nn.Sequential(nn.Conv2d(3, 8, 7, stride=2, padding=3), nn.ReLU()), "1")
    FieldGeometry(size=(7, 7), stride=(2, 2), offset=(3, 3))
    """
    module = find_layer(network, name)
    tensors = joined(network.parameters(), network.buffers())
    like = next((t for t in tensors if t.is_floating_point()), torch.empty(0))
    if like.dtype.itemsize < 4:  # oneDNN pads bfloat16 kernels: a NaN reaches one pixel further
        network, like = deepcopy(network).float(), like.float()
        module = find_layer(network, name)
    with temporary_eval_mode(network), torch.no_grad(), _without_cudnn():
        run = forward_until(network, module)
        rows, columns = (
            _measure_axis(partial(_count_nan_units, run, like, axis)) for axis in (0, 1)
        )
    size = None if rows.size is None or columns.size is None else (rows.size, columns.size)
    return FieldGeometry(size, (rows.stride, columns.stride), (rows.offset, columns.offset))


@contextmanager
def _without_cudnn() -> Iterator[None]:
    # cuDNN may pick Winograd or FFT, which spread a NaN over a whole tile
    enabled, cudnn.enabled = cudnn.enabled, False
    try:
        yield
    finally:
        cudnn.enabled = enabled


class _AxisGeometry(NamedTuple):
    size: int | None
    stride: int
    offset: int


def _kernel_steps(
    modules: Iterable[nn.Module],
) -> Iterator[tuple[tuple[int, int], tuple[int, int], tuple[int, int]]]:
    """Yield (dilated kernel − 1, stride, padding before) of the layers that are not pointwise."""
    for module in modules:
        if isinstance(module, nn.Sequential) and _runs_as(module, nn.Sequential):
            yield from _kernel_steps(module)  # `children` would count a shared layer once
        elif _runs_as(module, nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d) and (
            getattr(module, "padding_mode", "zeros") != "circular"
        ):
            kernel, dilation = _pair(module.kernel_size), _pair(getattr(module, "dilation", 1))
            reach = dilation[0] * (kernel[0] - 1), dilation[1] * (kernel[1] - 1)
            named = {"valid": (0, 0), "same": (reach[0] // 2, reach[1] // 2)}
            padding = module.padding
            before = named[padding] if isinstance(padding, str) else _pair(padding)
            yield reach, _pair(module.stride), before
        elif not _runs_as(module, *POINTWISE_MODULES):
            raise ValueError(
                f"no closed form for {module}: measure the layer with `measure_geometry`"
            )


def _runs_as(module: nn.Module, *kinds: type[nn.Module]) -> bool:
    """Return whether a module is of a kind, and not of a subclass with another forward pass."""
    return any(isinstance(module, k) and type(module).forward is k.forward for k in kinds)


def _pair(value: object) -> tuple[int, int]:
    first, second = value if isinstance(value, tuple) else (value, value)
    return int(first), int(second)


def _count_nan_units(
    run: Callable[[Tensor], Tensor], like: Tensor, axis: int, span: int, end: int, pixels: int
) -> tuple[int, int]:
    """Set pixels at one end of a strip to NaN; return (units up to the last NaN one, all units)."""
    image = torch.zeros(1, 3, span, _STRIP_WIDTH, device=like.device, dtype=like.dtype)
    image[:, :, slice(pixels) if end == 0 else slice(span - pixels, None)] = torch.nan
    output = run(image if axis == 0 else image.transpose(2, 3))
    if not isinstance(output, Tensor) or output.dim() != 4:
        shape = getattr(output, "shape", type(output).__name__)
        raise ValueError(f"a field needs an output of shape (1, units, h, w), not {shape}")
    nan = output[0].isnan().any(0).any(1 - axis)
    from_end = nan.flip(0) if end else nan
    return int(from_end.nonzero().max()) + 1 if nan.any() else 0, len(nan)


def _measure_axis(count_nan: Callable[[int, int, int], tuple[int, int]]) -> _AxisGeometry:
    span, units = _SHORTEST_STRIP, count_nan(_SHORTEST_STRIP, 0, 0)[1]
    while True:
        half, fewer, span = span, units, 2 * span
        ends = [partial(count_nan, span, end) for end in (0, 1)]
        counts, (units, _) = zip(*(end(half) for end in ends), strict=True)
        stride = round(half / max(units - fewer, 1))
        local = max(counts) < units
        if local and stride:
            # from the left: p pixels turn unit u NaN if u·S − offset < p
            # from the right: they turn unit n−1−j NaN if (j+1)·S + (size − S − offset) > … − p
            offset, beyond = (
                _reach(end, half, count, stride) for end, count in zip(ends, counts, strict=True)
            )
            if offset is not None and beyond is not None:
                size = beyond + offset + stride - (units * stride - span)
                return _AxisGeometry(size, stride, offset)
        if span == _LONGEST_STRIP:
            break
    if local:
        raise ValueError("the layer's units do not lie on a regular grid of whole pixels")
    return _AxisGeometry(None, stride, 0)


def _reach(
    count_nan: Callable[[int], tuple[int, int]], pixels: int, count: int, stride: int
) -> int | None:
    """Return the pixels that units see beyond their own cell, towards the end with NaN.

    count(p) = ceil((p + reach) / S); the largest p with the same count makes that exact. None if
    the counts around it are not those of the stride S.
    """
    count_nan = cache(count_nan)
    low, high = pixels, pixels + stride
    while high - low > 1:
        middle = (low + high) // 2
        if count_nan(middle)[0] == count:
            low = middle
        else:
            high = middle
    steps = [count_nan(low + p)[0] - count for p in (-stride, 1 - stride, 0, 1)]
    return count * stride - low if steps == [-1, 0, 0, 1] else None
