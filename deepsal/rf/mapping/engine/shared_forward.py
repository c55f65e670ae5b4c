"""One forward pass for all units that look at the same image, and only the work that is needed."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from deepsal.rf.mapping.engine.windowed_gradient import Box, box
from deepsal.rf.mapping.engine.windowed_operators import convolution

aten = torch.ops.aten
SAMPLEWISE = {
    aten._adaptive_avg_pool2d.default,
    aten.add.Tensor,
    aten.avg_pool2d.default,
    aten.cat.default,
    aten.clone.default,
    aten.constant_pad_nd.default,
    aten.convolution.default,
    aten.cudnn_batch_norm.default,
    aten.div.Tensor,
    aten.gelu.default,
    aten.hardsigmoid.default,
    aten.hardswish.default,
    aten.hardtanh.default,
    aten.leaky_relu.default,
    aten.max_pool2d_with_indices.default,
    aten.mean.dim,
    aten.mul.Tensor,
    aten.native_batch_norm.default,
    aten.relu.default,
    aten.sigmoid.default,
    aten.silu.default,
    aten.sub.Tensor,
    aten.tanh.default,
}
"""Operators that treat every sample of a batch alike and alone."""
IN_PLACE = {
    aten.add_.Tensor,
    aten.hardswish_.default,
    aten.hardtanh_.default,
    aten.leaky_relu_.default,
    aten.relu_.default,
    aten.silu_.default,
}


PRESERVING = {None, torch.preserve_format}


class NotSharedError(Exception):
    """An operator cannot take replicas that share memory: it writes on them, or views them."""


class Lean(TorchDispatchMode):
    """Runs Captum's forward and backward passes with the same result and less work.

    A batch that is one image expanded (stride 0) stays one image through the forward pass. In the
    backward pass gradients are carried as windows (`deepsal.rf.mapping.engine.windowed_gradient`).

    Args:
        needed: per convolution, in the order in which they run, the part of its input whose
            gradient is wanted (`wanted`); None for all.
    """

    def __init__(self, needed: Sequence[Box] | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.boxes = iter(needed) if needed is not None else None
        self.needed: dict[tuple[Any, ...], Box | None] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run one operator."""
        if func is aten.convolution_backward.default:
            found = convolution(*args, needed=self.needed.get(_key(args[1])))
            return func(*args) if found is NotImplemented else found
        if func is aten.convolution.default and self.boxes is not None:
            # a checkpointed forward runs twice: nothing is known of the second
            self.needed[_key(args[0])] = next(self.boxes, None)
        if func in SAMPLEWISE and (count := _replicas(func, args, kwargs or {})):
            found = func(*_firsts(func, args, count), **kwargs or {})
            if isinstance(found, tuple):
                return tuple(_expanded(value, count) for value in found)
            return _expanded(found, count)
        if func._schema.is_mutable and _overlaps(args[0]):
            if func not in IN_PLACE or not (count := _replicas(func, args, {})):
                raise NotSharedError
            func(*_firsts(func, args, count), **kwargs or {})
            return args[0]
        try:
            return func(*args, **kwargs or {})
        except RuntimeError as error:
            if any(_shared(value) for value in tree_leaves(args)):
                raise NotSharedError from error
            raise


def wanted(run: Callable[[Tensor], Tensor], like: Tensor, part: Box) -> list[Box]:
    """Return, per convolution that `run` calls, the cells of its input that see part of an image.

    They are those that turn NaN when that part is NaN.

    Args:
        run: the network, up to the probed layer.
        like: (1, 3, h, w), for size, device and type.
        part: of the image.
    """
    image = torch.zeros_like(like)
    image[:, :, part.rows, part.columns] = torch.nan
    with _seen() as boxes, torch.no_grad():
        run(image)
    return boxes


@contextmanager
def _seen() -> Iterator[list[Box]]:
    boxes: list[Box] = []

    class Record(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
        ) -> Any:
            if func is aten.convolution.default:
                boxes.append(box(args[0].isnan()))
            return func(*args, **kwargs or {})

    with Record():  # type: ignore[no-untyped-call]
        yield boxes


def _shared(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dim() == 4 and len(value) > 1 and not value.stride(0)


def _overlaps(value: Any) -> bool:
    return isinstance(value, Tensor) and any(
        size > 1 and not stride for size, stride in zip(value.shape, value.stride(), strict=True)
    )


def _key(image: Tensor) -> tuple[Any, ...]:
    """Tell a convolution's input from others, such as a part of it, which starts where it does."""
    return image.data_ptr(), image.shape, image.stride()


def _replicas(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """Return how many replicas of one image an operator is given; 0 if it is given others too.

    Also 0 where it does not give one map per sample, or one that must lie in memory as a whole.
    """
    axis, *others = args[1:] or (0,)
    if (
        (func is aten.cat.default and axis in (0, -4))
        or (func is aten.mean.dim and (not axis or {0, -4} & {*axis} or others != [True]))
        or (func is aten.constant_pad_nd.default and len(axis) > 6)
        or (func is aten.clone.default and kwargs.get("memory_format") not in PRESERVING)
    ):
        return 0
    maps = args[:1] if func is aten.convolution.default else args
    tensors = [t for t in tree_leaves(maps) if isinstance(t, Tensor) and t.dim() == 4]
    counts = {len(t) for t in tensors if _shared(t)}
    alike = all(_shared(t) or len(t) == 1 for t in tensors)
    return counts.pop() if alike and len(counts) == 1 else 0


def _firsts(func: Any, args: tuple[Any, ...], count: int) -> Iterator[Any]:
    for i, value in enumerate(args):
        weight = func is aten.convolution.default and i > 0
        yield value if weight else _first(value, count)


def _first(value: Any, count: int) -> Any:
    if isinstance(value, list | tuple):
        return [_first(v, count) for v in value]
    if not _shared(value) or len(value) != count:
        return value
    one = value[:1]  # a batch stride of 0 would hide from torch that channels lie last
    return one.as_strided(one.shape, (one.numel(), *one.stride()[1:]))


def _expanded(value: Any, count: int) -> Any:
    if not isinstance(value, Tensor) or value.dim() != 4:
        return value
    return value.expand(count, *value.shape[1:])
