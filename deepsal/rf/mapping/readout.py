"""A question to units of a layer, and how their answer is read."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from deepsal.rf.hooks import find_final_rectifier, find_layer, forward_until
from deepsal.rf.mapping.engine.windowed_gradient import Box


class UnitReadout(nn.Module):
    """A network that ends at one layer, whose units are read before their rectifier.

    Args:
        network: any network.
        name: the layer's dotted name.
        image: (1, 3, h, w), to find the rectifier; it has the type that the network computes in.
    """

    def __init__(self, network: nn.Module, name: str, image: Tensor) -> None:
        super().__init__()
        self.name = name
        self.network = network
        self.dtype = image.dtype
        module = find_layer(network, name)
        self.run = forward_until(network, module)
        pair = image.repeat(2, 1, 1, 1)
        self.layout = torch.channels_last
        try:
            last = pair.contiguous(memory_format=self.layout)
            self.rectifier, output = find_final_rectifier(network, module, last)
        except RuntimeError:  # it views channels as samples: Tensor.view wants them in rows
            self.layout = torch.contiguous_format
            self.rectifier, output = find_final_rectifier(network, module, pair)
        if output.dim() != 4:
            raise ValueError(f"{name} gives {output.dim()} axes; fields need (B, C, h, w)")
        self.channels = output.shape[1]
        self.target = self.rectifier or module

    def forward(self, image: Tensor) -> Tensor:
        """Return the layer's output; noise may have promoted the image."""
        return self.run(image.to(self.dtype))

    def activation(self, image: Tensor) -> Tensor:
        """Return the layer's output before its rectifier, (B, C, h', w')."""
        if self.rectifier is None:
            return self.forward(image)
        seen: list[Tensor] = []
        handle = self.rectifier.register_forward_pre_hook(
            lambda _module, inputs: seen.append(inputs[0].clone())
        )
        try:
            self.forward(image)
        finally:
            handle.remove()
        return seen[-1]


@dataclass
class FieldRequest:
    """Which unit is asked on which crop.

    crops: (B, 3, h, w), one image expanded where all units look at the same · units: (B,) ·
    where: (B, 2), row and column in the layer's output · needed: per convolution, see `Lean` ·
    samples: steps, noisy copies or pairs of noise images · windowed: gradients are computed as
    windows (`Lean`), otherwise Captum runs a plain batch.
    """

    crops: Tensor
    units: Tensor
    where: Tensor
    needed: Sequence[Box] | None = None
    samples: int = 32
    windowed: bool = True

    def alike(self) -> bool:
        """Whether all units look at the same crop."""
        return len(self.crops) > 1 and self.crops.stride(0) == 0

    def background(self) -> Tensor:
        """Return each crop's mean colour, (B, 3, 1, 1)."""
        return self.crops.mean((2, 3), keepdim=True)

    def one_by_one(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield (crop (1, 3, h, w), units, where) for each distinct crop."""
        if self.alike():
            yield self.crops[:1], self.units, self.where
            return
        for i in range(len(self.crops)):
            yield self.crops[i : i + 1], self.units[i : i + 1], self.where[i : i + 1]


class FieldBatch(NamedTuple):
    """What each unit answered: field (B, 3, h', w') in a box of its crop, activation (B,)."""

    field: Tensor
    box: Box
    activation: Tensor


class UnitSelector:
    """Picks each sample's own unit from a layer's output, for a batch that Captum repeats."""

    def __init__(self, question: FieldRequest, interleaved: bool = False) -> None:
        self.question = question
        self.interleaved = interleaved
        self.seen = torch.empty(0)

    def __call__(self, output: Tensor) -> Tensor:
        """Return (B·n,) from (B·n, C, h, w)."""
        asked = torch.column_stack([self.question.units, self.question.where])
        times = len(output) // len(asked)
        asked = asked.repeat_interleave(times, 0) if self.interleaved else asked.repeat(times, 1)
        chosen: Tensor = output[torch.arange(len(output), device=output.device), *asked.T]
        self.seen = chosen.detach()
        return chosen
