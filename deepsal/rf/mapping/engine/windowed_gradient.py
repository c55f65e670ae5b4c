"""Gradients that are zero outside a window, carried through a backward pass as that window alone.

A unit of a deep layer depends on a small part of the maps before it, and on nothing else. Autograd
computes the whole map all the same. Here the gradient of a map is its non-zero window, which grows
from one cell to the theoretical field on the way down: the same numbers, at a fraction of the work.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

_aten = torch.ops.aten
ELEMENTWISE_OPERATORS = {
    _aten.clone.default,
    _aten.detach.default,
    _aten.div.Tensor,
    _aten.elu_backward.default,
    _aten.gelu_backward.default,
    _aten.hardsigmoid_backward.default,
    _aten.hardswish_backward.default,
    _aten.hardtanh_backward.default,
    _aten.leaky_relu_backward.default,
    _aten.mul.Tensor,
    _aten.neg.default,
    _aten.relu.default,
    _aten.sigmoid_backward.default,
    _aten.silu_backward.default,
    _aten.tanh_backward.default,
    _aten.threshold_backward.default,
}
"""Operators that take a gradient of 0 to 0, cell by cell."""
WINDOW_RULES: dict[Any, Callable[..., Any]] = {}
"""Other operators (`windowed_operators`); a rule may return NotImplemented."""


class Box(NamedTuple):
    """Rows [top, bottom) and columns [left, right) of a map."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def rows(self) -> slice:
        """The rows as a slice."""
        return slice(self.top, self.bottom)

    @property
    def columns(self) -> slice:
        """The columns as a slice."""
        return slice(self.left, self.right)

    def within(self, other: "Box") -> "Box":
        """Return the part of this box that lies in another; empty boxes have bottom = top."""
        top, left = max(self.top, other.top), max(self.left, other.left)
        bottom, right = min(self.bottom, other.bottom), min(self.right, other.right)
        return Box(top, max(top, bottom), left, max(left, right))

    def moved(self, down: int, right: int) -> "Box":
        """Return the box in the frame of a map whose origin lies at (−down, −right)."""
        return Box(self.top + down, self.bottom + down, self.left + right, self.right + right)


def bounding_box(mask: Tensor) -> Box:
    """Return the smallest box around the True cells of (…, h, w); empty where there is none."""
    mask = mask.flatten(0, -3).any(0)
    sides = []
    for axis in (1, 0):
        at = mask.any(axis).nonzero()
        sides += [int(at[0]), int(at[-1]) + 1] if len(at) else [0, 0]
    return Box(*sides)


class WindowedGradient(Tensor):
    """A tensor (B, C, h, w) of zeros, except for `inside` in `bounding_box`.

    Operators without a rule see the whole tensor, so that any network works; those with one (all
    that convolutional networks are made of) return a `WindowedGradient` again.
    """

    inside: Tensor
    box: Box

    @staticmethod
    def __new__(cls, inside: Tensor, box: Box, size: Sequence[int]) -> "WindowedGradient":
        """Wrap what lies in a box of a map of `size` (h, w)."""
        made = cast(Any, torch.Tensor)._make_wrapper_subclass(
            cls, (*inside.shape[:2], *size), dtype=inside.dtype, device=inside.device
        )
        made.inside, made.box = inside, box
        return cast(WindowedGradient, made)

    def dense(self) -> Tensor:
        """Return the tensor with its zeros."""
        whole = self.inside.new_zeros(self.shape)
        whole[:, :, self.box.rows, self.box.columns] = self.inside
        return whole

    def like(self, inside: Tensor) -> "WindowedGradient":
        """Return other values in the same box."""
        return WindowedGradient(inside, self.box, self.shape[-2:])

    def part(self, other: Any) -> Any:
        """Return what lies in the box of a tensor that goes with this one; else the thing itself.

        Each axis that is not broadcast is cut: (B, C, h, w), but also (B, C, 1, w).
        """
        if not isinstance(other, Tensor):
            return other
        if other.dim() > 0 and other.shape[-1] == self.shape[-1]:
            other = other[..., self.box.columns]
        if other.dim() > 1 and other.shape[-2] == self.shape[-2]:
            other = other[..., self.box.rows, :]
        return other

    def holds(self, other: Any) -> bool:
        """Tell whether another tensor, broadcast, gives no larger one than this."""
        return not isinstance(other, Tensor) or (
            other.dim() <= self.dim()
            and all(n in (1, m) for n, m in zip(other.shape[::-1], self.shape[::-1], strict=False))
        )

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Apply the operator's rule, or give it the dense tensors."""
        gradient, *others = args
        if isinstance(gradient, WindowedGradient):
            alone = not any(isinstance(other, WindowedGradient) for other in others)
            if func in ELEMENTWISE_OPERATORS and alone and all(map(gradient.holds, others)):
                return gradient.like(
                    func(gradient.inside, *map(gradient.part, others), **kwargs or {})
                )
            rule = WINDOW_RULES.get(func)
            if rule and (found := rule(*args, **kwargs or {})) is not NotImplemented:
                return found
        return func(*tree_map(_to_dense, args), **tree_map(_to_dense, kwargs or {}))


def _to_dense(value: Any) -> Any:
    return value.dense() if isinstance(value, WindowedGradient) else value
