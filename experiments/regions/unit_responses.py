"""Standardised responses of the units of networks at places of images.

Letters in shapes: S seeds, N images, U units of a stage, K places, (H, W) an image, (h, w) the map
of a stage.
"""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate

from deepsal.data import Sample
from deepsal.data.formats.region_sets import RegionSet
from deepsal.models import STAGES

FloatArray = NDArray[np.float64]
HALF_OF_DENSITY = 0.5
"""The most fixated pixels that hold so much of the density are fixated regions."""


class Responses(NamedTuple):
    """Mean standardised responses of the units of one stage at K places, and their change.

    The places: R regions, other fixated regions, the background; then the fixations in the R
    regions, outside of all, and all. NaN where an image has no such place.
    """

    z: FloatArray
    """(S, N, U, K)."""
    misplaced: FloatArray
    """(S, N, U, K), at the places of the image before."""
    change: FloatArray
    """(S, N, U), 1 − correlation with the map before training; NaN for a constant map."""


@torch.no_grad()
def stage_maps(network: nn.Module, samples: Sequence[Sample]) -> dict[str, list[Tensor]]:
    """Return the output of each stage for each image, `{stage: N × (U, h, w)}`."""
    outputs = [network(sample.image[None]) for sample in samples]
    return {stage: [of[stage][0] for of in outputs] for stage in STAGES}


def place_grids(
    samples: Sequence[Sample], regions: RegionSet, maps: Mapping[str, Sequence[Tensor]]
) -> dict[str, Tensor]:
    """Return the weights of the places over the maps of each stage, `{stage: (N, K, h, w)}`.

    Args:
        samples: N images.
        regions: the R regions; every image may lack some.
        maps: see `stage_maps`.
    """
    grids: dict[str, list[Tensor]] = {stage: [] for stage in maps}
    for n, sample in enumerate(samples):
        weights = place_weights(sample, regions)
        for stage, of in maps.items():
            grids[stage].append(reduce_weights(weights, of[n]))
    return {stage: torch.stack(of) for stage, of in grids.items()}


@torch.no_grad()
def measure_networks(
    groups: Mapping[str, Sequence[nn.Module]],
    samples: Sequence[Sample],
    before: Mapping[str, Sequence[Tensor]],
    grids: Mapping[str, Tensor],
) -> dict[str, dict[str, Responses]]:
    """Return the responses, `{stage: {kind of network: of all seeds}}`.

    Args:
        groups: networks of each kind, in eval mode.
        samples: N images of one size.
        before: `stage_maps` of the network before training.
        grids: see `place_grids`.
    """
    results: dict[str, dict[str, Responses]] = {stage: {} for stage in STAGES}
    for kind, networks in groups.items():
        rows: dict[str, list[tuple[Tensor, ...]]] = {stage: [] for stage in STAGES}
        for network, (n, sample) in product(networks, enumerate(samples)):
            for stage, output in network(sample.image[None]).items():
                maps, at = output[0].double(), torch.cat([grids[stage][n], grids[stage][n - 1]])
                own, misplaced = standardised_means(maps, at, sample.size).chunk(2, 1)
                rows[stage].append((own, misplaced, 1 - correlate(maps, before[stage][n].double())))
        shape = len(networks), len(samples)
        for stage, of in rows.items():
            parts = (torch.stack(part).unflatten(0, shape) for part in zip(*of, strict=True))
            results[stage][kind] = Responses(*(part.numpy() for part in parts))
        print(f"networks that are measured: {len(networks)}, {kind}", flush=True)
    return results


def place_weights(sample: Sample, regions: RegionSet) -> Tensor:
    """Return weights over pixels whose sums are means over the K places, (K, H, W).

    Other fixated regions are outside of all regions, and among the pixels of highest density that
    hold half of the density. The rest is background. See `Responses` for the order.
    """
    masks = torch.from_numpy(regions.masks(sample.name, sample.size)).float()
    outside = 1 - masks.amax(0, keepdim=True)
    density, order = sample.density.flatten().double().sort(descending=True)
    fixated = torch.zeros(len(order))
    fixated[order[: int((density.cumsum(0) < HALF_OF_DENSITY).sum()) + 1]] = 1
    fixated = fixated.view_as(outside)
    at_fixations = torch.cat([masks, outside, torch.ones_like(outside)]) * sample.fixations
    weights = torch.cat([masks, outside * fixated, outside * (1 - fixated), at_fixations])
    return weights / weights.sum((1, 2), keepdim=True)


def reduce_weights(weights: Tensor, response: Tensor) -> Tensor:
    """Return weights over the map that give the same means as those over the enlarged map.

    Args:
        weights: (K, H, W).
        response: (U, h, w).

    Returns:
        (K, h, w), float64: Aᵀ M B for the enlargement A x Bᵀ of a map x and the weights M.
    """
    rows, columns = enlargement(weights.shape[1:], response.shape[1:])
    return rows.T @ weights.double() @ columns


def standardised_means(response: Tensor, grids: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the means of the enlarged and standardised maps at places, (U, K).

    Each map is enlarged bilinearly to the image, and has mean 0 and variance 1 over its pixels, as
    in NSS. A constant map is 0. Nothing is enlarged: means and variance of A x Bᵀ follow from x.

    Args:
        response: (U, h, w), float64.
        grids: (K, h, w), see `reduce_weights`.
        size: (H, W).
    """
    rows, columns = enlargement(size, response.shape[1:])
    mean = torch.einsum("uij,i,j->u", response, rows.mean(0), columns.mean(0))
    centred = response - mean[:, None, None]
    inner = (rows.T @ rows / len(rows)) @ centred @ (columns.T @ columns / len(columns))
    deviation = (inner * centred).sum((1, 2)).clamp(min=0).sqrt()
    constant = deviation <= 1e-6 * response.abs().amax((1, 2))
    means = torch.einsum("uij,kij->uk", centred, grids) / deviation[:, None]
    return torch.where(constant[:, None] & grids.isfinite().all(2).all(1), 0.0, means)


def enlargement(image: Sequence[int], small: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return the matrices (H, h) and (W, w) of bilinear enlargement of a map to an image."""
    matrices = []
    for length, count in zip(image, small, strict=True):
        unit_maps = torch.eye(count, dtype=torch.float64)[None]
        matrices.append(interpolate(unit_maps, length, mode="linear", align_corners=False)[0].T)
    return matrices[0], matrices[1]


def correlate(first: Tensor, second: Tensor) -> Tensor:
    """Return the correlation over positions of each unit's maps, (U,); NaN for a constant map."""
    one, two = (x.flatten(1) - x.flatten(1).mean(1, keepdim=True) for x in (first, second))
    correlation: Tensor = (one * two).sum(1) / (one.norm(dim=1) * two.norm(dim=1))
    return correlation
