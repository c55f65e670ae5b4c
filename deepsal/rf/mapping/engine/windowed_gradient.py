"""Gradients stored as their non-zero window, with the rest of the map left out.

A unit of a deep layer depends on a small part of the maps before it. Autograd computes the
gradient of the whole map. Here a gradient is its non-zero window, which grows from one cell to the
theoretical field during the backward pass: the same numbers, at a fraction of the work.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

aten = torch.ops.aten


def operators(names: str) -> set[Any]:
    """Return operators of ATen by their names; the overload is `default` unless named.

    >>> operators("relu add.Tensor") == {aten.relu.default, aten.add.Tensor}
    True
    """
    pairs = (name.partition(".") for name in names.split())
    return {getattr(getattr(aten, name), overload or "default") for name, _, overload in pairs}


ELEMENTWISE_OPERATORS = operators(
    "clone detach div.Tensor elu_backward gelu_backward hardsigmoid_backward hardswish_backward "
    "hardtanh_backward leaky_relu_backward mul.Tensor neg relu sigmoid_backward silu_backward "
    "tanh_backward threshold_backward"
)
"""Operators that map a gradient of 0 to 0, cell by cell."""
WINDOW_RULES: dict[Any, Callable[..., Any]] = {}
"""Rules of other operators, filled below; a rule may return NotImplemented."""


class Box(NamedTuple):
    """Rows [top, bottom) and columns [left, right) of a map."""

    top: int
    bottom: int
    left: int
    right: int

    @classmethod
    def whole(cls, size: Sequence[int]) -> "Box":
        """Return the box of a whole map of size (h, w)."""
        return cls(0, int(size[0]), 0, int(size[1]))

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.bottom - self.top, self.right - self.left

    def cut(self, map_: Tensor) -> Tensor:
        """Return the part of a tensor (…, h, w) that lies in this box, as a view."""
        return map_[..., self.top : self.bottom, self.left : self.right]

    def intersection(self, other: "Box") -> "Box":
        """Return the part of this box that lies in another; empty boxes have bottom = top."""
        top, left = max(self.top, other.top), max(self.left, other.left)
        bottom, right = min(self.bottom, other.bottom), min(self.right, other.right)
        return Box(top, max(top, bottom), left, max(left, right))

    def shifted(self, down: int, right: int) -> "Box":
        """Return the box in the frame of a map whose origin lies at (−down, −right)."""
        return Box(self.top + down, self.bottom + down, self.left + right, self.right + right)


def bounding_box(mask: Tensor) -> Box:
    """Return the smallest box around the True cells of (…, h, w); empty without a True cell."""
    mask = mask.flatten(0, -3).any(0)
    sides = []
    for axis in (1, 0):
        cells = mask.any(axis).nonzero()
        sides += [int(cells[0]), int(cells[-1]) + 1] if len(cells) else [0, 0]
    return Box(*sides)


class WindowedGradient(Tensor):
    """A tensor (B, C, H, W) that is `window` (B, C, h, w) in `box`, and zero elsewhere.

    Operators without a rule receive the whole tensor, so that any network works. Operators with a
    rule (those of convolutional networks) return a `WindowedGradient` again.
    """

    window: Tensor
    box: Box

    @staticmethod
    def __new__(cls, window: Tensor, box: Box, size: Sequence[int]) -> "WindowedGradient":
        """Wrap the values of a box in a map of `size` (H, W)."""
        gradient = cast(Any, torch.Tensor)._make_wrapper_subclass(
            cls, (*window.shape[:2], *size), dtype=window.dtype, device=window.device
        )
        gradient.window, gradient.box = window, box
        return cast(WindowedGradient, gradient)

    def dense(self) -> Tensor:
        """Return the tensor with its zeros."""
        whole = self.window.new_zeros(self.shape)
        self.box.cut(whole).copy_(self.window)
        return whole

    def with_values(self, window: Tensor) -> "WindowedGradient":
        """Return other values in the same box."""
        return WindowedGradient(window, self.box, self.shape[-2:])

    def cut_to_box(self, other: Any) -> Any:
        """Return the part of a broadcastable tensor in this box; anything else unchanged.

        Each axis that is not broadcast is cut: of (B, C, H, W), but also of (B, C, 1, W).
        """
        if not isinstance(other, Tensor):
            return other
        if other.dim() > 0 and other.shape[-1] == self.shape[-1]:
            other = other[..., self.box.left : self.box.right]
        if other.dim() > 1 and other.shape[-2] == self.shape[-2]:
            other = other[..., self.box.top : self.box.bottom, :]
        return other

    def broadcasts(self, other: Any) -> bool:
        """Return whether the product with another tensor is no larger than this one."""
        return not isinstance(other, Tensor) or (
            other.dim() <= self.dim()
            and all(n in (1, m) for n, m in zip(other.shape[::-1], self.shape[::-1], strict=False))
        )

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Apply the operator's rule, or run the operator on dense tensors."""
        gradient, *others = args
        if isinstance(gradient, WindowedGradient):
            alone = not any(isinstance(other, WindowedGradient) for other in others)
            if func in ELEMENTWISE_OPERATORS and alone and all(map(gradient.broadcasts, others)):
                return gradient.with_values(
                    func(gradient.window, *map(gradient.cut_to_box, others), **kwargs or {})
                )
            rule = WINDOW_RULES.get(func)
            if rule and (result := rule(*args, **kwargs or {})) is not NotImplemented:
                return result
        return func(*tree_map(_to_dense, args), **tree_map(_to_dense, kwargs or {}))


def _to_dense(value: Any) -> Any:
    return value.dense() if isinstance(value, WindowedGradient) else value


def _register_rule(operator: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        WINDOW_RULES[operator] = function
        return function

    return register


@_register_rule(aten.convolution_backward.default)
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
    gradient_box: Box | None = None,
) -> Any:
    """Return the gradient to a convolution's input as a window.

    Args: those of `aten.convolution_backward`, and
        gradient_box: the part of the input whose gradient is computed; None for all.

    Returns:
        (gradient, None, None), or NotImplemented.
    """
    if transposed or gradient.dim() != 4 or mask[1] or mask[2] or len(image) != len(gradient):
        return NotImplemented
    if not isinstance(gradient, WindowedGradient):
        box = bounding_box(gradient != 0)
        gradient = WindowedGradient(box.cut(gradient), box, gradient.shape[-2:])
    size = image.shape[-2:]
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, weight.shape[-2:], strict=True)]
    box = (gradient_box or Box.whole(size)).intersection(Box.whole(size))
    source, target = _reached_boxes(gradient.box, box, stride, padding, reach)
    if min(*source.shape, *target.shape) <= 0:
        empty = gradient.window.new_zeros(len(gradient), weight.shape[1] * groups, 0, 0)
        return WindowedGradient(empty, Box(0, 0, 0, 0), size), None, None
    window = source.shifted(-gradient.box.top, -gradient.box.left).cut(gradient.window)
    window = window.contiguous(memory_format=torch.channels_last)
    first = source.top * stride[0] - padding[0], source.left * stride[1] - padding[1]
    if weight.shape[-2:] == (1, 1) and groups == 1 and tuple(stride) == (1, 1):
        whole = (window.movedim(1, 3) @ weight[:, :, 0, 0]).movedim(3, 1)
    else:
        extent = [(n - 1) * s + r for n, s, r in zip(window.shape[-2:], stride, reach, strict=True)]
        like = window.new_empty(1).expand(len(window), weight.shape[1] * groups, *extent)
        rows = weight.contiguous(memory_format=torch.channels_last)  # else the result is not
        whole = aten.convolution_backward(
            window, like, rows, None, stride, [0, 0], dilation, False, [0, 0], groups,
            [True, False, False],
        )[0]  # fmt: skip
    window = target.shifted(-first[0], -first[1]).cut(whole)
    return WindowedGradient(window, target, size), None, None


def _reached_boxes(
    output: Box, image: Box, stride: Sequence[int], padding: Sequence[int], reach: Sequence[int]
) -> tuple[Box, Box]:
    """Return the part of an output box that reaches an input box, and the part that it reaches."""
    rows = _reached_span(*output[:2], *image[:2], stride[0], padding[0], reach[0])
    columns = _reached_span(*output[2:], *image[2:], stride[1], padding[1], reach[1])
    return Box(*rows[:2], *columns[:2]), Box(*rows[2:], *columns[2:])


def _reached_span(
    start: int, end: int, low: int, high: int, stride: int, padding: int, reach: int
) -> tuple[int, int, int, int]:
    """Return the output cells of [start, end) that reach [low, high), and the cells they reach."""
    start = max(start, -(-(low + padding - reach + 1) // stride))
    end = min(end, (high + padding - 1) // stride + 1)
    return (
        start,
        end,
        max(low, start * stride - padding),
        min(high, (end - 1) * stride - padding + reach),
    )


@_register_rule(aten.native_batch_norm_backward.default)
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
    scaled = gradient.window * scale.to(gradient.dtype)[:, None, None]
    return gradient.with_values(scaled), None, None


@_register_rule(aten.max_pool2d_with_indices_backward.default)
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
    size = image.shape[-2:]
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    whole = Box.whole(size)
    target = _reached_boxes(gradient.box, whole, stride or kernel, padding, reach)[1]
    target = target.intersection(whole)
    height, width = target.shape
    largest = gradient.cut_to_box(indices)
    if indices.stride(0) == 0:  # replicas share one forward pass
        largest = largest[:1]
    row, column = largest // size[1] - target.top, largest % size[1] - target.left
    flat = _flatten_space(row * width + column).expand(len(gradient), -1, -1)
    window = gradient.window.new_zeros(len(gradient), height * width, gradient.shape[1])
    window.scatter_add_(1, flat, _flatten_space(gradient.window))
    return WindowedGradient(window.mT.unflatten(2, (height, width)), target, size)


def _flatten_space(image: Tensor) -> Tensor:
    """Return (B, h·w, C) of (B, C, h, w), as a view if its memory is channels last."""
    return image.movedim(1, 3).flatten(1, 2)


@_register_rule(aten.add.Tensor)
def _add_windows(one: WindowedGradient, other: Any, **scale: Any) -> Any:
    if not isinstance(other, Tensor) and other == 0:  # Python's `sum` starts from 0
        return one
    if not isinstance(other, WindowedGradient) or scale:
        return NotImplemented
    if one.box == other.box:
        return one.with_values(one.window + other.window)
    a, b = one.box, other.box
    hull = Box(
        min(a.top, b.top), max(a.bottom, b.bottom), min(a.left, b.left), max(a.right, b.right)
    )
    window = one.window.new_zeros(*one.shape[:2], *hull.shape)
    for part in (one, other):
        part.box.shifted(-hull.top, -hull.left).cut(window).add_(part.window)
    return WindowedGradient(window, hull, one.shape[-2:])


@_register_rule(aten.constant_pad_nd.default)
def _pad_backward(gradient: WindowedGradient, pad: Sequence[int], *value: Any) -> Any:
    if len(pad) != 4 or max(pad) > 0:
        return NotImplemented
    left, right, top, bottom = pad
    size = gradient.shape[-2] + top + bottom, gradient.shape[-1] + left + right
    shifted = gradient.box.shifted(top, left)
    box = shifted.intersection(Box.whole(size))
    window = box.shifted(-shifted.top, -shifted.left).cut(gradient.window)
    return WindowedGradient(window, box, size)


@_register_rule(aten.slice.Tensor)
def _slice_channels(gradient: WindowedGradient, dim: int = 0, *ends: Any) -> Any:
    if dim != 1:
        return NotImplemented
    return gradient.with_values(aten.slice.Tensor(gradient.window, 1, *ends))
