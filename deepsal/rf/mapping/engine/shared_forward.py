"""One forward pass for all units on one image, and backward passes only over the cells needed."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from deepsal.rf.hooks import OperatorObserver
from deepsal.rf.mapping.engine.windowed_gradient import (
    Box,
    aten,
    bounding_box,
    convolution_backward,
    operators,
)

SAMPLEWISE_OPERATORS = operators(
    "_adaptive_avg_pool2d add.Tensor avg_pool2d cat clone constant_pad_nd convolution "
    "cudnn_batch_norm div.Tensor gelu hardsigmoid hardswish hardtanh leaky_relu "
    "max_pool2d_with_indices mean.dim mul.Tensor native_batch_norm relu sigmoid silu sub.Tensor "
    "tanh"
)
"""Operators that treat every sample of a batch alike, without the other samples."""
IN_PLACE_OPERATORS = operators("add_.Tensor hardswish_ hardtanh_ leaky_relu_ relu_ silu_")


class SharedReplicaError(Exception):
    """Raised where an operator writes to, or views, replicas that share memory."""


class SharedForwardMode(TorchDispatchMode):
    """Mode in which Captum's forward and backward passes take less work for the same result.

    A batch that is one image expanded (stride 0) stays one image through the forward pass. In the
    backward pass gradients are windows (`deepsal.rf.mapping.engine.windowed_gradient`).

    Args:
        input_boxes: per convolution, in the order in which they run, the part of its input whose
            gradient is computed (`convolution_input_boxes`); None for all.

    Raises:
        SharedReplicaError: an operator that cannot run on one image for all.
    """

    def __init__(self, input_boxes: Sequence[Box] | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.boxes = iter(input_boxes) if input_boxes is not None else None
        self.box_of_input: dict[tuple[Any, ...], Box | None] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run one operator."""
        if func is aten.convolution_backward.default:
            box = self.box_of_input.get(_storage_key(args[1]))
            result = convolution_backward(*args, gradient_box=box)
            return func(*args) if result is NotImplemented else result
        if func is aten.convolution.default and self.boxes is not None:
            # a checkpointed forward runs twice: the second time has no boxes
            self.box_of_input[_storage_key(args[0])] = next(self.boxes, None)
        if func in SAMPLEWISE_OPERATORS and (count := _replica_count(func, args, kwargs or {})):
            result = func(*_single_arguments(func, args, count), **kwargs or {})
            return tree_map(partial(_replicate, count=count), result)
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


def convolution_input_boxes(run: Callable[[Tensor], Tensor], like: Tensor, box: Box) -> list[Box]:
    """Return, per convolution that `run` calls, the cells of its input that depend on a box.

    They are the cells that turn NaN when the pixels in the box are NaN.

    Args:
        run: the network, up to the layer of the units.
        like: (1, 3, h, w), for size, device and type.
        box: of the image.
    """
    image = torch.zeros_like(like)
    box.cut(image).fill_(torch.nan)
    boxes: list[Box] = []

    def record(func: Any, args: tuple[Any, ...]) -> None:
        if func is aten.convolution.default:
            boxes.append(bounding_box(args[0].isnan()))

    with OperatorObserver(record), torch.no_grad():
        run(image)
    return boxes


def _is_replicated(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dim() == 4 and len(value) > 1 and not value.stride(0)


def _has_zero_stride(value: Any) -> bool:
    return isinstance(value, Tensor) and any(
        size > 1 and not stride for size, stride in zip(value.shape, value.stride(), strict=True)
    )


def _storage_key(image: Tensor) -> tuple[Any, ...]:
    """Return a key of a convolution's input that differs from those of its parts."""
    return image.data_ptr(), image.shape, image.stride()


def _replica_count(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """Return the number of replicas of one image that an operator takes; 0 if it takes others too.

    Also 0 for an operator that does not return one map per sample, or that returns a map whose
    memory must be contiguous.
    """
    axis, *others = args[1:] or (0,)
    if (
        (func is aten.cat.default and axis in (0, -4))
        or (func is aten.mean.dim and (not axis or {0, -4} & {*axis} or others != [True]))
        or (func is aten.constant_pad_nd.default and len(axis) > 6)
        or (
            func is aten.clone.default
            and kwargs.get("memory_format") not in (None, torch.preserve_format)
        )
    ):
        return 0
    maps = args[:1] if func is aten.convolution.default else args
    tensors = [t for t in tree_leaves(maps) if isinstance(t, Tensor) and t.dim() == 4]
    counts = {len(t) for t in tensors if _is_replicated(t)}
    alike = all(_is_replicated(t) or len(t) == 1 for t in tensors)
    return counts.pop() if alike and len(counts) == 1 else 0


def _single_arguments(func: Any, args: tuple[Any, ...], count: int) -> Iterator[Any]:
    for i, value in enumerate(args):
        weight = func is aten.convolution.default and i > 0
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
