"""The saliency network, from an image to a log density over its pixels."""

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate, relu

from deepsal.data.batch import MapBatch
from deepsal.models.backbone import Backbone
from deepsal.vocabulary import STAGES

DecoderFactory = Callable[[Mapping[str, int]], nn.Module]


class SaliencyNetwork(nn.Module):
    """A backbone, a decoder, and a head that turns logits into a log density.

    Logits are resized to the output, smoothed by a Gaussian, added to a learnt centre bias and
    normalised by a log-softmax over pixels, so that `exp` of the output sums to one per image.

    Args:
        backbone: the encoder.
        decoder: builds the decoder from the channels of the backbone's stages.
        smooth: initial standard deviation of the Gaussian as a fraction of the height; it is
            learnt. 0 switches smoothing off.
    """

    def __init__(self, backbone: Backbone, decoder: DecoderFactory, smooth: float = 0.02) -> None:
        super().__init__()
        self.backbone = backbone
        self.decoder = decoder(backbone.channels)
        self.finish = LogDensityHead(smooth)

    def forward(
        self, image: Float[Tensor, "B 3 h w"], size: tuple[int, int] | None = None
    ) -> MapBatch:
        """Return the log density at `size` (default: the image's own), `(B, H, W)`, float32."""
        logits = self.decoder(self.backbone(image))
        return cast(Tensor, self.finish(logits, size or image.shape[-2:]))

    def decoder_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of the decoder and of the head: all but the backbone's."""
        return [*self.decoder.parameters(), *self.finish.parameters()]


class LogDensityHead(nn.Module):
    """Resize logits, smooth them, add a centre bias and normalise over pixels.

    The bias is −w·(((x−μx)/σx)² + ((y−μy)/σy)²)/2, in units of half the image; w, μ, σ are learnt.
    """

    def __init__(self, smooth: float) -> None:
        super().__init__()
        self.log_smooth = nn.Parameter(torch.tensor(smooth).log()) if smooth else None
        self.weight = nn.Parameter(torch.tensor(1.0))
        self.centre = nn.Parameter(torch.zeros(2))
        self.log_spread = nn.Parameter(torch.tensor([0.6, 0.6]).log())

    def forward(self, logits: Float[Tensor, "B h w"], size: tuple[int, int]) -> MapBatch:
        """Return the log density at `size`, `(B, H, W)`, float32."""
        with torch.autocast(logits.device.type, enabled=False):
            down, across = (
                self._resized(n, length, size[0], logits.device)
                for n, length in zip(logits.shape[-2:], size, strict=True)
            )
            x = down @ logits.float() @ across.T + self._bias(size, logits)
            return x.flatten(1).log_softmax(1).view_as(x)

    def _resized(
        self, n: int, length: int, height: int, device: torch.device
    ) -> Float[Tensor, "length n"]:
        """Interpolate n values linearly to `length` and smooth them, as one matrix."""
        matrix = interpolate(torch.eye(n, device=device)[None], length, mode="linear")[0].T
        if self.log_smooth is None:
            return matrix
        at = torch.arange(length, device=device)
        sigma = self.log_smooth.exp() * height
        kernel = (-0.5 * ((at[:, None] - at) / sigma).square()).softmax(1)
        return kernel @ matrix

    def _bias(self, size: tuple[int, int], like: Tensor) -> Float[Tensor, "H W"]:
        axes = [(torch.arange(n, device=like.device) + 0.5) * 2 / n - 1 for n in size]
        spread = self.log_spread.exp()
        y, x = (((a - c) / s).square() for a, c, s in zip(axes, self.centre, spread, strict=True))
        bias: Tensor = -self.weight * (y[:, None] + x) / 2
        return bias


LogitMaps = Float[Tensor, "B h w"]


class ReadoutDecoder(nn.Module):
    """A light decoder: 1x1 convolutions of some stages, summed at conv3's resolution.

    Args:
        channels: of each stage (`Backbone.channels`).
        width: channels of the sum.
        stages: that it reads, one or more.

    Raises:
        ValueError: an unknown stage.
    """

    def __init__(
        self, channels: Mapping[str, int], width: int = 64, stages: Sequence[str] = STAGES[1:]
    ) -> None:
        super().__init__()
        if not stages or not set(stages) <= set(STAGES):
            raise ValueError(f"decoder.stages={list(stages)}: the choices are {list(STAGES)}")
        self.squeeze = nn.ModuleDict({s: nn.Conv2d(channels[s], width, 1) for s in stages})
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
