"""Graph-based visual saliency: Harel, Koch & Perona 2006 (NIPS 19:545-552)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate
from typing_extensions import override

from deepsal.data.batch import MapBatch
from deepsal.models.baselines.baseline import Baseline, ImageBatch, to_log_density
from deepsal.models.baselines.early_vision import (
    gabor_magnitudes,
    gaussian_pyramid,
    opponent_channels,
    resize_longer_side,
    scale_to_unit_range,
)

FEATURE_LEVELS = (2, 3, 4)
ACTIVATION_SIGMA, NORMALISATION_SIGMA = 0.15, 0.06
FEATURE_FLOOR = 0.5
"""Constant added to feature maps in [0, 1], so that the ratio of two of their values is defined.

The paper does not state it; of .01, .1 and .5 this is the best on OSIE's validation images."""


class GBVS(Baseline):
    """Graph-based saliency: equilibria of random walks that prefer steps to different cells.

    Feature maps are intensity, two colours and four orientations at pyramid levels 2, 3 and 4, each
    scaled to [0, 1], on a grid 32 cells wide. *Activation* is the equilibrium of a Markov chain
    over cells with weights |log(Mᵢ/Mⱼ)|·exp(−d²/2σ²), σ = .15 of the width. *Normalisation* is that
    of a chain with weights Aⱼ·exp(−d²/2σ²), σ = .06 of the width, which concentrates mass. The maps
    of a channel are averaged, then the channels. Both chains are reversible, so their equilibria
    need no iteration: see `activation_equilibrium` and `normalisation_equilibrium`.

    Args:
        longest: pixels of the longer side that the image is resized to.
        cells: of the grid along the longer side.
    """

    def __init__(self, longest: int = 640, cells: int = 32) -> None:
        super().__init__()
        self.longest = longest
        self.cells = cells

    @override
    def predict(self, image: ImageBatch, size: tuple[int, int], name: Sequence[str]) -> MapBatch:
        return to_log_density(self.saliency(image), size)

    def saliency(self, image: ImageBatch) -> MapBatch:
        """Return the saliency map on the grid; it sums to one."""
        image = resize_longer_side(image, self.longest)
        rows, columns = resize_longer_side(image, self.cells).shape[-2:]
        colours = gaussian_pyramid(opponent_channels(image), max(FEATURE_LEVELS) + 1)
        levels = [
            torch.cat([colours[i], gabor_magnitudes(colours[i][:, :1])], dim=1)
            for i in FEATURE_LEVELS
        ]
        grids = [interpolate(x, (rows, columns), mode="bilinear", antialias=True) for x in levels]
        maps = torch.stack(grids, dim=2).flatten(3)
        squared = _squared_distances(rows, columns).to(maps) / self.cells**2
        near, nearer = (
            torch.exp(-squared / (2 * spread**2))
            for spread in (ACTIVATION_SIGMA, NORMALISATION_SIGMA)
        )
        walked = normalisation_equilibrium(activation_equilibrium(maps, near), nearer).mean(2)
        channels = (walked[:, :1], walked[:, 1:3], walked[:, 3:])
        total = torch.stack([channel.mean(1) for channel in channels]).mean(0)
        return total.view(-1, rows, columns)


def activation_equilibrium(
    maps: Float[Tensor, "*n N"], near: Float[Tensor, "N N"]
) -> Float[Tensor, "*n N"]:
    """Return the equilibrium of the walk with weights |log(Mᵢ/Mⱼ)|·nearᵢⱼ, which sums to one.

    The weights are symmetric, so the share of time in a cell is its share of all weights. A
    constant map gives the uniform equilibrium.
    """
    log = (scale_to_unit_range(maps, (-1,)) + FEATURE_FLOOR).log()
    stay = ((log[..., :, None] - log[..., None, :]).abs() * near).sum(-1)
    stay = torch.where(stay.amax(-1, keepdim=True) == 0, 1.0, stay)
    return stay / stay.sum(-1, keepdim=True)


def normalisation_equilibrium(
    mass: Float[Tensor, "*n N"], near: Float[Tensor, "N N"]
) -> Float[Tensor, "*n N"]:
    """Return the equilibrium of the walk with weights Aⱼ·nearᵢⱼ from i to j, which sums to one.

    Multiplied by Aᵢ, which changes no probability of a step, the weights are symmetric, so a cell's
    share is proportional to Aᵢ·Σⱼ nearᵢⱼ·Aⱼ.
    """
    stay = mass * (mass @ near)
    return stay / stay.sum(-1, keepdim=True)


def _squared_distances(rows: int, columns: int) -> Float[Tensor, "N N"]:
    at = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).float()
    squared: Tensor = (at[:, None] - at).square().sum(-1)
    return squared
