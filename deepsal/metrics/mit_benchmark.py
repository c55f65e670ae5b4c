"""Older scores of the MIT benchmark, for comparison with numbers that were published with them.

They follow its MATLAB code (Bylinskii et al. 2018, arXiv 1604.03605). Maps are stretched to [0, 1].
Fixations are a binary image, so that two fixations on a pixel count once. Signatures and shapes
follow `deepsal.metrics.functional`; each score takes the log density and exponentiates it first.
CC and KL are those of `deepsal.metrics.functional`. AUCs of a constant map are 0.5 (up to the
jitter of `auc_judd`). Every score of an image without a fixation is NaN.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from deepsal.metrics.functional import (
    ImageScores,
    MapBatch,
    at_least_float32,
    count_below,
    nan_without_mass,
)

JUDD_JITTER = 1e-7
RANDOM_SPLITS = 100


def nss_sample_std(log_density: MapBatch, fixations: MapBatch) -> ImageScores:
    """NSS with the sample's standard deviation (ddof 1), over fixated pixels.

    A constant map scores 0.

    >>> density = torch.tensor([[[0.7, 0.1], [0.1, 0.1]]])
    >>> round(nss_sample_std(density.log(), torch.tensor([[[2.0, 0.0], [0.0, 0.0]]])).item(), 4)
    1.5
    """
    pixels = _stretched(log_density)
    deviation = pixels.std((-2, -1), keepdim=True).clamp_min(torch.finfo(pixels.dtype).tiny)
    z = (pixels - pixels.mean((-2, -1), keepdim=True)) / deviation
    fixated = (fixations > 0).to(z.dtype)
    return (z * fixated).sum((-2, -1)) / fixated.sum((-2, -1))


def sim_stretched(log_density: MapBatch, density: MapBatch) -> ImageScores:
    """Histogram intersection of two maps, both stretched to [0, 1] first.

    A constant map counts as the uniform density.

    >>> density = torch.tensor([[[0.4, 0.2], [0.2, 0.2]]])
    >>> sim_stretched(density.log(), torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])).item()
    1.0
    """
    one, other = (
        _normalised_density(_stretched(values)) for values in (log_density, density.log())
    )
    return nan_without_mass(torch.minimum(one, other).sum((-2, -1)), density)


def auc_judd(
    log_density: MapBatch, fixations: MapBatch, jitter: float = JUDD_JITTER, seed: int = 0
) -> ImageScores:
    """AUC of fixated against all other pixels, with thresholds at the fixated values.

    Noise in [0, `jitter`), added to the stretched map, breaks ties; `jitter=0` leaves them.

    >>> density = torch.tensor([[[0.7, 0.1], [0.1, 0.1]]])
    >>> auc_judd(density.log(), torch.tensor([[[2.0, 0.0], [0.0, 0.0]]])).item()
    1.0
    """
    generator = Generator().manual_seed(seed)

    def score(pixels: Tensor, fixated: Tensor) -> Tensor:
        noise = torch.rand(len(pixels), generator=generator, dtype=pixels.dtype)
        pixels = pixels + jitter * noise.to(pixels.device)
        values = pixels[fixated].sort(descending=True).values
        count = len(pixels) - count_below(pixels, values)[0]  # pixels at or above each threshold
        hits = torch.arange(1.0, len(values) + 1, dtype=torch.float64, device=pixels.device)
        return _roc_area(hits / len(values), (count - hits) / (len(pixels) - len(values)))

    return _score_each_image(score, log_density, fixations)


def auc_borji(
    log_density: MapBatch,
    fixations: MapBatch,
    splits: int = RANDOM_SPLITS,
    step: float = 0.1,
    seed: int = 0,
) -> ImageScores:
    """AUC of fixated against as many random pixels, with thresholds every `step`.

    It is the mean over `splits` draws with replacement. Coarse steps lower the score of a peaked
    map much.

    >>> auc_borji(torch.zeros(1, 4, 4), torch.eye(4)[None]).item()
    0.5
    """
    generator = Generator().manual_seed(seed)

    def score(pixels: Tensor, fixated: Tensor) -> Tensor:
        positives = pixels[fixated]
        drawn = torch.randint(len(pixels), (splits, len(positives)), generator=generator)
        return _auc_at_steps(positives, pixels[drawn.to(pixels.device)], step)

    return _score_each_image(score, log_density, fixations)


def auc_shuffled(
    log_density: MapBatch,
    fixations: MapBatch,
    other_fixations: MapBatch,
    splits: int = RANDOM_SPLITS,
    step: float = 0.1,
    seed: int = 0,
) -> ImageScores:
    """Shuffled AUC of the MATLAB code: against pixels fixated in other images.

    Each of the `splits` draws takes, without replacement, as many pixels of `other_fixations` as
    this image has fixated ones; the benchmark draws from ten other images. Thresholds are every
    `step`.

    >>> auc_shuffled(torch.zeros(1, 4, 4), torch.eye(4)[None], torch.ones(1, 4, 4)).item()
    0.5
    """
    generator = Generator().manual_seed(seed)

    def score(pixels: Tensor, fixated: Tensor, elsewhere: Tensor) -> Tensor:
        positives, pool = pixels[fixated], pixels[elsewhere]
        order = torch.rand(splits, len(pool), generator=generator).argsort(1)
        drawn = order[:, : len(positives)].to(pixels.device)
        return _auc_at_steps(positives, pool[drawn], step)

    return _score_each_image(score, log_density, fixations, other_fixations)


def _score_each_image(
    score: Callable[..., Tensor], log_density: MapBatch, *counts: MapBatch
) -> ImageScores:
    stretched = _stretched(log_density).flatten(1)
    values = []
    for pixels, *masks in zip(stretched, *(c.flatten(1) > 0 for c in counts), strict=True):
        defined = all(mask.any() for mask in masks) and not pixels.isnan().any()
        value = score(pixels, *masks) if defined else pixels.new_tensor(math.nan)
        values.append(value.to(pixels.dtype))
    return torch.stack(values)


def _stretched(log_values: MapBatch) -> MapBatch:
    """Return the map stretched to [0, 1], float64 or float32; a constant one becomes 0."""
    wide = at_least_float32(log_values)
    values = (wide - wide.amax((-2, -1), keepdim=True)).exp()
    low = values.amin((-2, -1), keepdim=True)
    return (values - low) / (1 - low).masked_fill(low == 1, 1)


def _normalised_density(stretched: MapBatch) -> MapBatch:
    total = stretched.sum((-2, -1), keepdim=True)
    uniform = 1 / stretched[0].numel()
    return torch.where(total > 0, stretched / total.masked_fill(total == 0, 1), uniform)


def _roc_area(
    hits: Float[Tensor, "... N"], false_alarms: Float[Tensor, "... N"]
) -> Float[Tensor, "..."]:
    hits, false_alarms = (
        torch.nn.functional.pad(torch.nn.functional.pad(x.double(), (1, 0)), (0, 1), value=1.0)
        for x in (hits, false_alarms)
    )
    return torch.trapezoid(hits, false_alarms)


def _auc_at_steps(
    positives: Float[Tensor, " P"], negatives: Float[Tensor, "S N"], step: float
) -> Float[Tensor, ""]:
    """Return the mean area over splits; thresholds are the multiples of `step` in [0, 1]."""
    thresholds = torch.arange(int(1 / step + 1e-9), -1, -1, device=positives.device) * step
    hits = (positives[:, None] >= thresholds).double().mean(0)
    alarms = (negatives[:, :, None] >= thresholds).double().mean(1)
    return _roc_area(hits.expand_as(alarms), alarms).mean()
