"""Decoders from the stages of a backbone to one map of logits."""

from collections.abc import Mapping
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate, relu

from deepsal.vocabulary import STAGES

LogitMaps = Float[Tensor, "B h w"]


class ReadoutDecoder(nn.Module):
    """A light decoder: 1x1 convolutions of conv2 to conv5, summed at conv3's resolution.

    Args:
        channels: of each stage (`Backbone.channels`).
        width: channels of the sum.
    """

    def __init__(self, channels: Mapping[str, int], width: int = 64) -> None:
        super().__init__()
        used = STAGES[1:]
        self.squeeze = nn.ModuleDict({s: nn.Conv2d(channels[s], width, 1) for s in used})
        self.mix = nn.Conv2d(width, width, 3, padding=1)
        self.out = nn.Conv2d(width, 1, 1)

    def forward(self, features: Mapping[str, Tensor]) -> LogitMaps:
        """Return logits at conv3's resolution, `(B, h, w)`."""
        grid = features["conv3"].shape[-2:]
        maps = [
            _resize_to_grid(squeeze(features[stage]), (grid[0], grid[1]))
            for stage, squeeze in self.squeeze.items()
        ]
        total = relu(torch.stack(maps).sum(0))
        return cast(Tensor, self.out(relu(self.mix(total))).squeeze(1))


class MirrorDecoder(nn.Module):
    """The mirror-image decoder of He & Pugeault 2018: five stages from conv5 back to conv1.

    Each stage upsamples its input (nearest neighbour) to the size of the encoder stage below and
    convolves it (3x3, ReLU) to that stage's channels; a last 1x1 convolution gives the logits.

    Args:
        channels: of each stage.
    """

    def __init__(self, channels: Mapping[str, int]) -> None:
        super().__init__()
        below = dict(zip(STAGES[1:], STAGES, strict=False))
        self.up = nn.ModuleDict(
            {s: nn.Conv2d(channels[s], channels[below[s]], 3, padding=1) for s in reversed(below)}
        )
        self.first = nn.Conv2d(channels["conv1"], channels["conv1"], 3, padding=1)
        self.out = nn.Conv2d(channels["conv1"], 1, 1)

    def forward(self, features: Mapping[str, Tensor]) -> LogitMaps:
        """Return logits at conv1's resolution, `(B, h, w)`."""
        x = features["conv5"]
        below = dict(zip(STAGES[1:], STAGES, strict=False))
        for stage, convolution in self.up.items():
            x = interpolate(x, features[below[stage]].shape[-2:], mode="nearest")
            x = relu(convolution(x))
        return cast(Tensor, self.out(relu(self.first(x))).squeeze(1))


def _resize_to_grid(maps: Tensor, grid: tuple[int, int]) -> Tensor:
    if maps.shape[-2] > grid[0]:
        return adaptive_avg_pool2d(maps, grid)
    return interpolate(maps, grid, mode="bilinear")
