"""Readout of a layer's units: before their rectifier, each on its own crop."""

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
        name: dotted name of the layer.
        image: (1, 3, h, w), to find the rectifier; it has the type that the network computes in.

    Raises:
        ValueError: no such layer, or its output is not (B, C, h, w).
    """

    def __init__(self, network: nn.Module, name: str, image: Tensor) -> None:
        super().__init__()
        self.name = name
        self.network = network
        self.dtype = image.dtype
        module = find_layer(network, name)
        self.forward_to_layer = forward_until(network, module)
        pair = image.repeat(2, 1, 1, 1)
        self.memory_format = torch.channels_last
        try:
            last = pair.contiguous(memory_format=self.memory_format)
            self.rectifier, output = find_final_rectifier(network, module, last)
        except RuntimeError:  # it views channels as samples: Tensor.view wants them in rows
            self.memory_format = torch.contiguous_format
            self.rectifier, output = find_final_rectifier(network, module, pair)
        if output.dim() != 4:
            raise ValueError(f"{name} gives {output.dim()} axes; fields need (B, C, h, w)")
        self.channels = output.shape[1]
        self.target = self.rectifier or module

    def forward(self, image: Tensor) -> Tensor:
        """Return the layer's output; noise may have promoted the image."""
        return self.forward_to_layer(image.to(self.dtype))

    def activation(self, image: Tensor) -> Tensor:
        """Return the layer's output before its rectifier, (B, C, h', w')."""
        if self.rectifier is None:
            return self.forward(image)
        inputs: list[Tensor] = []
        with self.rectifier.register_forward_pre_hook(
            lambda _module, arguments: inputs.append(arguments[0].clone())
        ):
            self.forward(image)
        return inputs[-1]


@dataclass
class FieldRequest:
    """Units, and the crop on which the field of each is computed.

    crops: (B, 3, h, w), one image expanded where all units share a crop · units: (B,) channels ·
    positions: (B, 2), row and column in the layer's output · input_boxes: per convolution, see
    `SharedForwardMode` · samples: steps, noisy copies or pairs of noise images · windowed: compute
    gradients as windows (`SharedForwardMode`); otherwise Captum runs a plain batch.
    """

    crops: Tensor
    units: Tensor
    positions: Tensor
    input_boxes: Sequence[Box] | None = None
    samples: int = 32
    windowed: bool = True

    def shares_one_crop(self) -> bool:
        """Return whether all units are read on the same crop."""
        return len(self.crops) > 1 and self.crops.stride(0) == 0

    def mean_colour(self) -> Tensor:
        """Return each crop's mean colour, (B, 3, 1, 1)."""
        return self.crops.mean((2, 3), keepdim=True)

    def distinct_crops(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield (crop (1, 3, h, w), units, positions) for each distinct crop."""
        step = len(self.crops) if self.shares_one_crop() else 1
        for i in range(0, len(self.crops), step):
            yield self.crops[i : i + 1], self.units[i : i + step], self.positions[i : i + step]


class FieldBatch(NamedTuple):
    """Fields (B, 3, h', w') in one box of their crops, and activations (B,) of the units."""

    field: Tensor
    box: Box
    activation: Tensor


class UnitSelector:
    """Selects each sample's own unit from a layer's output, for a batch that Captum repeats.

    Args:
        request: the units.
        interleaved: whether the copies of a sample follow each other, as in Captum's NoiseTunnel.

    Attributes:
        activation: the values of the latest call, without their graph.
    """

    def __init__(self, request: FieldRequest, interleaved: bool = False) -> None:
        self.request = request
        self.interleaved = interleaved
        self.activation = torch.empty(0)

    def __call__(self, output: Tensor) -> Tensor:
        """Return (B·n,) from (B·n, C, h, w)."""
        index = torch.column_stack([self.request.units, self.request.positions])
        times = len(output) // len(index)
        index = index.repeat_interleave(times, 0) if self.interleaved else index.repeat(times, 1)
        values: Tensor = output[torch.arange(len(output), device=output.device), *index.T]
        self.activation = values.detach()
        return values
