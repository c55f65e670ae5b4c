"""How operators carry a windowed gradient backwards."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from deepsal.rf.mapping.engine.windowed_gradient import (
    WINDOW_RULES,
    Box,
    WindowedGradient,
    bounding_box,
)

_aten = torch.ops.aten


def _register_rule(operator: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        WINDOW_RULES[operator] = function
        return function

    return register


@_register_rule(_aten.convolution_backward.default)
def convolution_backward(
    gradient: Tensor,
    image: Tensor,
    weight: Tensor,
    _bias: Any,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    _output_padding: Any,
    groups: int,
    mask: Sequence[bool],
    needed: Box | None = None,
) -> Any:
    """Return the gradient to a convolution's input as a window, at most where it is `needed`."""
    if transposed or gradient.dim() != 4 or mask[1] or mask[2] or len(image) != len(gradient):
        return NotImplemented
    if not isinstance(gradient, WindowedGradient):
        found = bounding_box(gradient != 0)
        inside = gradient[:, :, found.rows, found.columns]
        gradient = WindowedGradient(inside, found, gradient.shape[-2:])
    size = image.shape[-2:]
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, weight.shape[-2:], strict=True)]
    kept = (needed or Box(0, size[0], 0, size[1])).within(Box(0, size[0], 0, size[1]))
    spans = [  # (first, last + 1 output cell, first, last + 1 input cell) per axis
        _reached_span(*ends, stride[a], padding[a], reach[a])
        for a, ends in enumerate(
            (
                (gradient.box.top, gradient.box.bottom, kept.top, kept.bottom),
                (gradient.box.left, gradient.box.right, kept.left, kept.right),
            )
        )
    ]
    (top, bottom, low, high), (left, right, near, far) = spans
    target = Box(low, high, near, far)
    if min(bottom - top, right - left, high - low, far - near) <= 0:
        nothing = gradient.inside.new_zeros(len(gradient), weight.shape[1] * groups, 0, 0)
        return WindowedGradient(nothing, Box(0, 0, 0, 0), size), None, None
    source = Box(top, bottom, left, right).moved(-gradient.box.top, -gradient.box.left)
    inside = gradient.inside[:, :, source.rows, source.columns].contiguous(
        memory_format=torch.channels_last
    )
    start = top * stride[0] - padding[0], left * stride[1] - padding[1]
    cut = target.moved(-start[0], -start[1])
    if weight.shape[-2:] == (1, 1) and groups == 1 and tuple(stride) == (1, 1):
        whole = (inside.movedim(1, 3) @ weight[:, :, 0, 0]).movedim(3, 1)
    else:
        extent = [(n - 1) * s + r for n, s, r in zip(inside.shape[-2:], stride, reach, strict=True)]
        like = inside.new_empty(1).expand(len(inside), weight.shape[1] * groups, *extent)
        rows = weight.contiguous(memory_format=torch.channels_last)  # else the result is not
        whole = _aten.convolution_backward(
            inside, like, rows, None, stride, [0, 0], dilation, False, [0, 0], groups,
            [True, False, False],
        )[0]  # fmt: skip
    return WindowedGradient(whole[:, :, cut.rows, cut.columns], target, size), None, None


def _reached_span(
    start: int, end: int, low: int, high: int, stride: int, padding: int, reach: int
) -> tuple[int, int, int, int]:
    """Return the output cells of [start, end) that reach input cells [low, high), and those."""
    start = max(start, -(-(low + padding - reach + 1) // stride))
    end = min(end, (high + padding - 1) // stride + 1)
    return (
        start,
        end,
        max(low, start * stride - padding),
        min(high, (end - 1) * stride - padding + reach),
    )


@_register_rule(_aten.native_batch_norm_backward.default)
def _batch_norm_backward(
    gradient: WindowedGradient,
    _image: Tensor,
    weight: Tensor | None,
    _mean: Any,
    variance: Any,  # None only in training mode
    _saved_mean: Any,
    _saved_scale: Any,
    train: bool,
    epsilon: float,
    _mask: Any,
) -> Any:
    if train:
        return NotImplemented
    scale = torch.rsqrt(variance + epsilon)
    scale = scale if weight is None else scale * weight
    return gradient.like(gradient.inside * scale.to(gradient.dtype)[:, None, None]), None, None


@_register_rule(_aten.max_pool2d_with_indices_backward.default)
def _max_pool_backward(
    gradient: WindowedGradient,
    image: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    _ceil: bool,
    indices: Tensor,
) -> WindowedGradient:
    size, at = image.shape[-2:], gradient.box
    steps = [*(stride or kernel)]
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    rows = _reached_span(at.top, at.bottom, 0, size[0], steps[0], padding[0], reach[0])
    columns = _reached_span(at.left, at.right, 0, size[1], steps[1], padding[1], reach[1])
    target = Box(*rows[2:], *columns[2:]).within(Box(0, size[0], 0, size[1]))
    height, width = target.bottom - target.top, target.right - target.left
    where = gradient.part(indices)
    if indices.stride(0) == 0:  # replicas share one forward pass
        where = where[:1]
    row, column = where // size[1] - target.top, where % size[1] - target.left
    flat = _flatten_space(row * width + column).expand(len(gradient), -1, -1)
    inside = gradient.inside.new_zeros(len(gradient), height * width, gradient.shape[1])
    inside.scatter_add_(1, flat, _flatten_space(gradient.inside))
    return WindowedGradient(inside.mT.unflatten(2, (height, width)), target, size)


def _flatten_space(image: Tensor) -> Tensor:
    """Return (B, h·w, C) of (B, C, h, w): a view, where that lies channels last."""
    return image.movedim(1, 3).flatten(1, 2)


@_register_rule(_aten.add.Tensor)
def _add_windows(one: WindowedGradient, other: Any, **scale: Any) -> Any:
    if not isinstance(other, Tensor) and other == 0:  # Python's `sum` starts from 0
        return one
    if not isinstance(other, WindowedGradient) or scale:
        return NotImplemented
    if one.box == other.box:
        return one.like(one.inside + other.inside)
    a, b = one.box, other.box
    hull = Box(
        min(a.top, b.top), max(a.bottom, b.bottom), min(a.left, b.left), max(a.right, b.right)
    )
    inside = one.inside.new_zeros(*one.shape[:2], hull.bottom - hull.top, hull.right - hull.left)
    for part in (one, other):
        place = part.box.moved(-hull.top, -hull.left)
        inside[:, :, place.rows, place.columns] += part.inside
    return WindowedGradient(inside, hull, one.shape[-2:])


@_register_rule(_aten.constant_pad_nd.default)
def _pad_backward(gradient: WindowedGradient, pad: Sequence[int], *value: Any) -> Any:
    if len(pad) != 4 or max(pad) > 0:
        return NotImplemented
    left, right, top, bottom = pad
    size = gradient.shape[-2] + top + bottom, gradient.shape[-1] + left + right
    there = gradient.box.moved(top, left)
    kept = there.within(Box(0, size[0], 0, size[1]))
    cut = kept.moved(-there.top, -there.left)
    return WindowedGradient(gradient.inside[:, :, cut.rows, cut.columns], kept, size)


@_register_rule(_aten.slice.Tensor)
def _slice_channels(gradient: WindowedGradient, dim: int = 0, *ends: Any) -> Any:
    if dim != 1:
        return NotImplemented
    return gradient.like(_aten.slice.Tensor(gradient.inside, 1, *ends))
