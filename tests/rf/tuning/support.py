"""Planted units whose suppression, summation field and surround are known."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from deepsal.rf.tuning.grating_protocol import GratingProtocol

PROTOCOL = GratingProtocol(
    pixels_per_degree=14.0,
    display=8.0,
    frequency=(1.542, 3.084),
    orientation=(0.0, 90.0),
    tuning_frequency=(1.542, 3.084),
)
SMALL = GratingProtocol(
    pixels_per_degree=14.0,
    display=5.0,
    radius=(0.2, 0.8, 2.0),
    frequency=(1.5, 3.0),
    orientation=(0.0, 60.0, 120.0),
    phase=(0.0, 60.0, 120.0, 180.0, 240.0, 300.0),
    tuning_frequency=(0.8, 1.6, 3.2, 12.0),
)
"""A few quick stimuli."""
CENTRES = (0.595, 0.841, 1.189)
"""Radii of the planted centres, degrees."""
RING = math.sqrt(2), 2 * math.sqrt(2)
"""Inner and outer radius of the surround, as multiples of the centre's radius."""
STRENGTH = 0.6


def gabors(frequency: float, sigma: float, size: int = 15) -> Tensor:
    """Return an even Gabor without response to uniform light, and an odd one, (2, size, size).

    Both answer a full grating of vertical stripes of contrast .5 in three colours with up to 1.
    """
    at = torch.arange(size, dtype=torch.float64) - size // 2
    envelope = torch.exp(-(at[:, None] ** 2 + at**2) / (2 * sigma**2))
    angle = 2 * math.pi * frequency * at
    even = envelope * torch.cos(angle)
    even -= envelope * even.sum() / envelope.sum()
    odd = envelope * torch.sin(angle)
    gain = [(g * wave).sum() * 1.5 for g, wave in ((even, angle.cos()), (odd, angle.sin()))]
    return torch.stack([even / gain[0], odd / gain[1]]).float()


NAMES = (
    *(f"{kind} {radius}" for kind in ("subtractive", "divisive") for radius in CENTRES),
    "band-pass",
    "energy",
)
"""Channels of `PlantedSurrounds`."""


class PlantedSurrounds(nn.Module):
    """Units with a pool of local energy as centre and a ring of it as surround.

    Responses: centre − k·surround; centre/(1 + surround/k); an even Gabor; a centre alone. Fields
    of all but the Gabor are moved by `shift`, rows and columns, pixels.
    """

    def __init__(self, shift: tuple[float, float] = (0.0, 0.0)) -> None:
        super().__init__()
        scale = PROTOCOL.pixels_per_degree
        filters = gabors(3.084 / scale, 2.0)
        self.gabor = nn.Conv2d(3, 2, 15, padding=7, bias=False)
        self.gabor.weight.data = filters[:, None].expand(-1, 3, -1, -1).clone()
        reach = math.ceil((CENTRES[-1] * RING[1] * scale + max(map(abs, shift))) / 2)
        at = 2 * (torch.arange(2 * reach + 1.0) - reach)
        distance = torch.hypot(at[:, None] - shift[0], at - shift[1])

        def disk(radius: float) -> Tensor:
            return (radius * scale + 0.5 - distance).clamp(0, 1)

        pools = [disk(r) for r in CENTRES]
        pools += [disk(r * RING[1]) - disk(r * RING[0]) for r in CENTRES]
        self.pool = nn.Conv2d(1, 6, len(at), stride=2, padding=reach, bias=False)
        self.pool.weight.data = torch.stack([p / p.sum() for p in pools])[:, None]
        self.units = nn.ReLU()

    def forward(self, image: Tensor) -> Tensor:
        responses = self.gabor(image)
        energy = responses.square().sum(1, keepdim=True).sqrt()
        centre, surround = self.pool(functional.avg_pool2d(energy, 2)).split(3, 1)
        subtractive, divisive = centre - STRENGTH * surround, centre / (1 + surround / STRENGTH)
        even = responses[:, :1, ::4, ::4]
        units: Tensor = self.units(torch.cat([subtractive, divisive, even, centre[:, :1]], 1))
        return units


SUPPRESSION = [STRENGTH] * 3 + [1 / (1 + STRENGTH)] * 3
"""SSI of the six units with a surround: k, and 1 − 1/(1 + 1/k)."""
