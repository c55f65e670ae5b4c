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
"""Rules of other operators, filled by `windowed_operators`; a rule may return NotImplemented."""


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
