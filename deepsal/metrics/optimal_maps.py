"""Optimal saliency maps of a density, one per score (Kuemmerer, Wallis & Bethge, ECCV 2018).

A model that predicts fixations perfectly still loses points if every score is computed from the
same map. Each score has a map that maximises its expectation if fixations come from the density.
"""

from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from deepsal.metrics.functional import MapBatch, at_least_float32, sort_last

TRUTH_SAMPLES = 512
FIXATIONS_PER_SAMPLE = 100
PIXELS_PER_BAND = 1 << 24
"""Pixels of all truths together that are drawn at a time: 64 MiB, and 192 MiB while sorted."""


def optimal_map(
    score: str, log_density: MapBatch, sigma: float, baseline_log_density: MapBatch | None = None
) -> MapBatch:
    """Return the log of the map of a density that maximises a score, `(B, H, W)`.

    The density itself for NSS and IG, its ranks for AUC, its ratio to the baseline for sAUC, the
    density blurred like the truth for CC and KL, and a numeric optimum for SIM. Not differentiable.

    Args:
        score: `nss ig auc borji sauc cc kl sim`.
        log_density: `(B, H, W)`.
        sigma: standard deviation of the truth's blur in pixels.
        baseline_log_density: log density of fixations on other images; sAUC only.

    Raises:
        ValueError: no such score, or no baseline for sAUC.

    >>> p = torch.tensor([[[0.5, 0.25], [0.125, 0.125]]]).log()
    >>> torch.equal(optimal_map("nss", p, 1.0), p)
    True
    >>> optimal_map("auc", p, 1.0).argsort().tolist() == p.argsort().tolist()
    True
    """
    wide = at_least_float32(log_density.detach())
    if score in ("nss", "ig"):
        return log_density
    if score in ("auc", "borji"):
        return _normalised(_midranks(wide).log())
    if score == "sauc":
        if baseline_log_density is None:
            raise ValueError(
                "the optimal map for sauc is a ratio to a baseline: pass baseline_log_density"
            )
        return _normalised(wide - baseline_log_density.to(wide))
    if score in ("cc", "kl"):
        return _normalised(_blurred(wide.exp(), sigma).log())
    if score == "sim":
        return torch.stack([_optimal_sim_map(density, sigma) for density in wide.exp()]).log()
    raise ValueError(f"no optimal map for {score!r}; there are nss ig auc borji sauc cc kl sim")


def _midranks(values: MapBatch) -> MapBatch:
    """Return midranks from 1: tied pixels share theirs."""
    ranks = []
    for image in values.flatten(1):
        _, place, counts = image.unique(return_inverse=True, return_counts=True)
        last = counts.cumsum(0).to(values.dtype)
        ranks.append((last - (counts - 1) / 2)[place])
    return torch.stack(ranks).view_as(values)


def _optimal_sim_map(density: Float[Tensor, "H W"], sigma: float) -> Float[Tensor, "H W"]:
    """Maximise the expected Σ min(S, G) over truths G drawn from the density, ΣS = 1.

    At the optimum every pixel is exceeded by the truth equally often, so S is a pixelwise quantile
    of drawn truths whose level is set by ΣS = 1. Truths are smooth: a coarse grid is enough.
    They are drawn in bands of rows, so that memory does not grow with the image.
    """
    height, width = density.shape
    step = max(1, int(sigma / 4))
    rows, columns = -(-height // step), -(-width // step)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.multinomial(
        density.flatten().cpu(),
        TRUTH_SAMPLES * FIXATIONS_PER_SAMPLE,
        replacement=True,
        generator=generator,
    ).view(TRUTH_SAMPLES, FIXATIONS_PER_SAMPLE)
    down, across = (
        _gaussian_matrix(n, sigma / step).to(density)[at // step]
        for n, at in ((rows, drawn // width), (columns, drawn % width))
    )
    mass = (down.sum(2) * across.sum(2)).sum(1)[:, None, None]

    @lru_cache(maxsize=1)
    def ordered_truths(start: int) -> Float[Tensor, "r W S"]:
        """Return some rows of all truths, sorted at every pixel."""
        band = down[:, :, start : start + height_of_band].mT @ across
        return sort_last((band / mass).permute(1, 2, 0).contiguous())

    height_of_band = max(1, PIXELS_PER_BAND // (TRUTH_SAMPLES * columns))
    starts = range(0, rows, height_of_band)
    totals = torch.stack([ordered_truths(start).sum((0, 1)) for start in starts]).sum(0)
    above = int((totals < 1).sum().clamp(1, TRUTH_SAMPLES - 1))
    mix = ((1 - totals[above - 1]) / (totals[above] - totals[above - 1])).clamp(0, 1)
    quantiles = [ordered_truths(start)[..., [above - 1, above]] for start in starts]
    low, high = torch.cat(quantiles).unbind(-1)
    coarse = low + mix * (high - low)
    fine = torch.nn.functional.interpolate(
        coarse[None, None], (rows * step, columns * step), mode="bilinear"
    )[0, 0, :height, :width]
    return fine / fine.sum()


def _blurred(maps: MapBatch, sigma: float) -> MapBatch:
    down, across = (_gaussian_matrix(n, sigma).to(maps) for n in maps.shape[-2:])
    return down @ maps @ across


def _gaussian_matrix(n: int, sigma: float) -> Float[Tensor, "n n"]:
    at = torch.arange(n, dtype=torch.float64)
    return torch.exp(-0.5 * ((at[:, None] - at) / sigma).square())


def _normalised(log_values: MapBatch) -> MapBatch:
    return log_values.flatten(1).log_softmax(1).view_as(log_values)
