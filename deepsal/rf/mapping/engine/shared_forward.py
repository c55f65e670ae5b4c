"""One forward pass for all units that look at the same image, and only the work that is needed."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from deepsal.rf.mapping.engine.windowed_gradient import Box, bounding_box
from deepsal.rf.mapping.engine.windowed_operators import convolution_backward

_aten = torch.ops.aten
SAMPLEWISE_OPERATORS = {
    _aten._adaptive_avg_pool2d.default,
    _aten.add.Tensor,
    _aten.avg_pool2d.default,
    _aten.cat.default,
    _aten.clone.default,
    _aten.constant_pad_nd.default,
    _aten.convolution.default,
    _aten.cudnn_batch_norm.default,
    _aten.div.Tensor,
    _aten.gelu.default,
    _aten.hardsigmoid.default,
    _aten.hardswish.default,
    _aten.hardtanh.default,
    _aten.leaky_relu.default,
    _aten.max_pool2d_with_indices.default,
    _aten.mean.dim,
    _aten.mul.Tensor,
    _aten.native_batch_norm.default,
    _aten.relu.default,
    _aten.sigmoid.default,
    _aten.silu.default,
    _aten.sub.Tensor,
    _aten.tanh.default,
}
"""Operators that treat every sample of a batch alike and alone."""
IN_PLACE_OPERATORS = {
    _aten.add_.Tensor,
    _aten.hardswish_.default,
    _aten.hardtanh_.default,
    _aten.leaky_relu_.default,
    _aten.relu_.default,
    _aten.silu_.default,
}


PRESERVED_FORMATS = {None, torch.preserve_format}


class SharedReplicaError(Exception):
    """An operator cannot take replicas that share memory: it writes on them, or views them."""


class SharedForwardMode(TorchDispatchMode):
    """Runs Captum's forward and backward passes with the same result and less work.

    A batch that is one image expanded (stride 0) stays one image through the forward pass. In the
    backward pass gradients are carried as windows (`deepsal.rf.mapping.engine.windowed_gradient`).

    Args:
        needed: per convolution, in the order in which they run, the part of its input whose
            gradient is wanted (`convolution_input_boxes`); None for all.
    """

    def __init__(self, needed: Sequence[Box] | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.boxes = iter(needed) if needed is not None else None
        self.needed: dict[tuple[Any, ...], Box | None] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run one operator."""
        if func is _aten.convolution_backward.default:
            found = convolution_backward(*args, needed=self.needed.get(_storage_key(args[1])))
            return func(*args) if found is NotImplemented else found
        if func is _aten.convolution.default and self.boxes is not None:
            # a checkpointed forward runs twice: nothing is known of the second
            self.needed[_storage_key(args[0])] = next(self.boxes, None)
        if func in SAMPLEWISE_OPERATORS and (count := _replica_count(func, args, kwargs or {})):
            found = func(*_single_arguments(func, args, count), **kwargs or {})
            if isinstance(found, tuple):
                return tuple(_replicate(value, count) for value in found)
            return _replicate(found, count)
        if func._schema.is_mutable and _has_zero_stride(args[0]):
            if func not in IN_PLACE_OPERATORS or not (count := _replica_count(func, args, {})):
                raise SharedReplicaError
            func(*_single_arguments(func, args, count), **kwargs or {})
            return args[0]
        try:
            return func(*args, **kwargs or {})
        except RuntimeError as error:
            if any(_is_replicated(value) for value in tree_leaves(args)):
                raise SharedReplicaError from error
            raise


def convolution_input_boxes(run: Callable[[Tensor], Tensor], like: Tensor, part: Box) -> list[Box]:
    """Return, per convolution that `run` calls, the cells of its input that see part of an image.

    They are those that turn NaN when that part is NaN.

    Args:
        run: the network, up to the probed layer.
        like: (1, 3, h, w), for size, device and type.
        part: of the image.
    """
    image = torch.zeros_like(like)
    image[:, :, part.rows, part.columns] = torch.nan
    with _record_nan_boxes() as boxes, torch.no_grad():
        run(image)
    return boxes


@contextmanager
def _record_nan_boxes() -> Iterator[list[Box]]:
    boxes: list[Box] = []

    class Record(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
        ) -> Any:
            if func is _aten.convolution.default:
                boxes.append(bounding_box(args[0].isnan()))
            return func(*args, **kwargs or {})

    with Record():  # type: ignore[no-untyped-call]
        yield boxes


def _is_replicated(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dim() == 4 and len(value) > 1 and not value.stride(0)


def _has_zero_stride(value: Any) -> bool:
    return isinstance(value, Tensor) and any(
        size > 1 and not stride for size, stride in zip(value.shape, value.stride(), strict=True)
    )


def _storage_key(image: Tensor) -> tuple[Any, ...]:
    """Tell a convolution's input from others, such as a part of it, which starts where it does."""
    return image.data_ptr(), image.shape, image.stride()


def _replica_count(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """Return how many replicas of one image an operator is given; 0 if it is given others too.

    Also 0 where it does not give one map per sample, or one that must lie in memory as a whole.
    """
    axis, *others = args[1:] or (0,)
    if (
        (func is _aten.cat.default and axis in (0, -4))
        or (func is _aten.mean.dim and (not axis or {0, -4} & {*axis} or others != [True]))
        or (func is _aten.constant_pad_nd.default and len(axis) > 6)
        or (func is _aten.clone.default and kwargs.get("memory_format") not in PRESERVED_FORMATS)
    ):
        return 0
    maps = args[:1] if func is _aten.convolution.default else args
    tensors = [t for t in tree_leaves(maps) if isinstance(t, Tensor) and t.dim() == 4]
    counts = {len(t) for t in tensors if _is_replicated(t)}
    alike = all(_is_replicated(t) or len(t) == 1 for t in tensors)
    return counts.pop() if alike and len(counts) == 1 else 0


def _single_arguments(func: Any, args: tuple[Any, ...], count: int) -> Iterator[Any]:
    for i, value in enumerate(args):
        weight = func is _aten.convolution.default and i > 0
        yield value if weight else _single_replica(value, count)


def _single_replica(value: Any, count: int) -> Any:
    if isinstance(value, list | tuple):
        return [_single_replica(v, count) for v in value]
    if not _is_replicated(value) or len(value) != count:
        return value
    one = value[:1]  # a batch stride of 0 would hide from torch that channels lie last
    return one.as_strided(one.shape, (one.numel(), *one.stride()[1:]))


def _replicate(value: Any, count: int) -> Any:
    if not isinstance(value, Tensor) or value.dim() != 4:
        return value
    return value.expand(count, *value.shape[1:])
