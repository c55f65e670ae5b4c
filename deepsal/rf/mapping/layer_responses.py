"""Outputs of several layers of a network, before their rectifiers, in one forward pass."""

from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from deepsal.rf.hooks import find_layer
from deepsal.rf.mapping.readout import UnitReadout
from deepsal.rf.memory import batch_size, run_in_batches

CPU_BATCH_DIVISOR = 4
"""On a CPU, passes are this much smaller than those of gradients.

Outputs then stay below 32 MB, above which the C library asks the operating system for each anew.
EfficientNet-Lite0 took 17 instead of 22 ms per image of 192x256.
"""


class _AllReadError(Exception):
    """All layers have been computed: the rest of the forward pass is not needed."""


class LayerResponses:
    """Reads layers of a network; inside `hooks.temporary_eval_mode` only.

    Args:
        network: computes in float32 or float64.
        layers: dotted names.
        size: (height, width) of the images.

    Attributes:
        like: a tensor of the network's type and device.
        shapes: of each layer's output to one image, `{layer: (U, h, w)}`.

    Raises:
        ValueError: no such layer, a layer that the forward pass does not reach or whose output is
            not (B, U, h, w); a compiled network.
    """

    def __init__(self, network: nn.Module, layers: Sequence[str], size: tuple[int, int]) -> None:
        self.network = network
        self.like = reference_tensor(network)
        image = torch.full((1, 3, *size), 0.5).to(self.like)
        with torch.no_grad():
            probes = {name: UnitReadout(network, name, image) for name in layers}
            self.rectifier = {name: probe.rectifier for name, probe in probes.items()}
            self.module = {name: find_layer(network, name) for name in layers}
            layouts = {probe.memory_format for probe in probes.values()}
            self.layout = layouts.pop() if len(layouts) == 1 else torch.contiguous_format
            self.shapes = {n: tuple(z.shape[1:]) for n, z in self._read(image, layers).items()}
        self.batch = batch_size(network, self._run(layers), image)
        if not self.like.is_cuda:
            self.batch = max(1, self.batch // CPU_BATCH_DIVISOR)

    def __call__(self, images: Tensor, layers: Collection[str]) -> dict[str, Tensor]:
        """Return each layer's output before its rectifier, `{layer: (B, U, h, w)}`.

        Where memory does not suffice for all the images at once, passes become smaller.
        """
        parts: dict[str, list[Tensor]] = {name: [] for name in layers}

        def read(part: slice) -> None:
            for name, z in self._read(images[part], layers).items():
                parts[name].append(z)

        self.batch = run_in_batches(len(images), self.batch, read)
        return {name: z[0] if len(z) == 1 else torch.cat(z) for name, z in parts.items()}

    def _run(self, layers: Collection[str]) -> Callable[[Tensor], Tensor]:
        return lambda image: torch.cat([z.flatten() for z in self._read(image, layers).values()])

    def _read(self, images: Tensor, layers: Collection[str]) -> dict[str, Tensor]:
        outputs: dict[str, Tensor] = {}
        inputs: dict[str, Tensor] = {}

        def keep_input(name: str) -> Callable[..., None]:
            def hook(_module: nn.Module, given: tuple[Tensor, ...]) -> None:
                inputs[name] = given[0].clone()  # it may work in place; the last call counts

            return hook

        def keep_output(name: str) -> Callable[..., None]:
            def hook(_module: nn.Module, _given: Any, output: Tensor) -> None:
                if self.rectifier[name] is None:
                    outputs.setdefault(name, output)
                else:
                    outputs.setdefault(name, inputs[name])
                if len(outputs) == len(layers):
                    raise _AllReadError

            return hook

        with ExitStack() as stack:
            for name in layers:
                rectifier = self.rectifier[name]
                if rectifier is not None:
                    handle = rectifier.register_forward_pre_hook(keep_input(name))
                    stack.callback(handle.remove)
                stack.callback(self.module[name].register_forward_hook(keep_output(name)).remove)
            try:
                self.network(images.contiguous(memory_format=self.layout))
            except _AllReadError:
                return outputs
        missing = [name for name in layers if name not in outputs]
        raise ValueError(f"the network's forward pass does not run through {missing}")


def reference_tensor(network: nn.Module) -> Tensor:
    """Return a floating-point tensor of the network, for its type and device."""
    tensors = [*network.parameters(), *network.buffers()]
    return next((t for t in tensors if t.is_floating_point()), torch.empty(0))


def full_precision_copy(network: nn.Module) -> nn.Module:
    """Return the network, or a float32 copy of one in half precision."""
    return deepcopy(network).float() if reference_tensor(network).dtype.itemsize < 4 else network
