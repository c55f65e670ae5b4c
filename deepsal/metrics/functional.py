"""Saliency scores as pure functions, which losses, metrics and tables share.

Every score takes the log density over pixels of B images, `(B, H, W)`, and a ground truth of the
same shape. It returns one value per image, `(B,)`. `fixations` are counts per pixel (duplicates
count); `density` sums to one per image. Half precision is computed in float32, float64 stays
float64. Definitions follow Bylinskii et al. 2018 (arXiv 1604.03605) as the MIT/Tuebingen benchmark
computes them today; its older ones are in `deepsal.metrics.mit_benchmark`. For an image
without a fixation, whose counts and density are zeros, every score is NaN.
"""

import math

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from deepsal.metrics.earth_mover import transport_distance

MapBatch = Float[Tensor, "B H W"]
ImageScores = Float[Tensor, " B"]
PixelMask = Bool[Tensor, "B H W"]
"""True at the pixels of an image, False at padding, where a density is 0."""

KL_EPSILON = 2.2204e-16
"""MATLAB's machine epsilon, the constant of the MIT benchmark's KL."""


def kl(log_density: MapBatch, density: MapBatch) -> ImageScores:
    """Kullback-Leibler divergence of the prediction from the truth, in nats; 0 is perfect.

    Σ G·log(ε + G/(P+ε)) for the truth G and the prediction P (MIT `KLdiv`, Bylinskii et al. 2018).

    >>> uniform = torch.full((1, 4, 4), 1 / 16)
    >>> kl(uniform.log(), uniform).abs().item() < 1e-6
    True
    """
    prediction, truth = at_least_float32(log_density).exp(), at_least_float32(density)
    divergence = (truth * (KL_EPSILON + truth / (prediction + KL_EPSILON)).log()).sum((-2, -1))
    return nan_without_mass(divergence, density)


def cc(log_density: MapBatch, density: MapBatch, mask: PixelMask | None = None) -> ImageScores:
    """Pearson correlation of prediction and truth over the pixels of an image; 1 is perfect.

    A constant map scores 0, with a gradient of 0.

    Args:
        log_density: `(B, H, W)`.
        density: `(B, H, W)`, 0 in the padding.
        mask: the pixels of the image; None for all.

    >>> ramp = torch.arange(1.0, 17).view(1, 4, 4)
    >>> round(cc((3 * ramp + 2).log(), ramp).item(), 6)
    1.0
    """
    prediction, per_std = _centred_and_inverse_std(_density_times_pixels(log_density), mask)
    scaled = at_least_float32(density) * density[0].numel()
    truth, per_true_std = _centred_and_inverse_std(scaled, mask)
    covariance = _mean_over_pixels(prediction * truth, mask)[:, 0, 0]
    correlation = covariance * per_std * per_true_std
    return nan_without_mass(correlation, density)


def sim(log_density: MapBatch, density: MapBatch) -> ImageScores:
    """Histogram intersection Σ min(P, G) of prediction and truth; 1 is perfect.

    >>> uniform = torch.full((1, 4, 4), 1 / 16)
    >>> sim(uniform.log(), uniform).item()
    1.0
    """
    common = torch.minimum(at_least_float32(log_density).exp(), at_least_float32(density))
    return nan_without_mass(common.sum((-2, -1)), density)


def nss(log_density: MapBatch, fixations: MapBatch, mask: PixelMask | None = None) -> ImageScores:
    """Normalised scanpath saliency: mean z-score of the density at the fixations.

    The standard deviation is the population's (ddof 0). A constant map scores 0, an image without
    fixations NaN (Peters et al. 2005).

    Args:
        log_density: `(B, H, W)`.
        fixations: counts, `(B, H, W)`, 0 in the padding.
        mask: the pixels of the image; None for all.

    >>> density = torch.tensor([[[0.7, 0.1], [0.1, 0.1]]])
    >>> round(nss(density.log(), torch.tensor([[[2.0, 0.0], [0.0, 0.0]]])).item(), 4)
    1.7321
    """
    counts = at_least_float32(fixations)
    centred, per_std = _centred_and_inverse_std(_density_times_pixels(log_density), mask)
    return (centred * counts).sum((-2, -1)) / counts.sum((-2, -1)) * per_std


def auc(log_density: MapBatch, fixations: MapBatch) -> ImageScores:
    """Area under the ROC curve of fixations against all pixels, exact; ties count half.

    It is the mean, over fixations, of the share of pixels with a smaller value. A constant map
    scores 0.5; an image without fixations or a map with a NaN scores NaN. Not differentiable.
    Source: `AUC(nonfixations='uniform')` of pysaliency, which the Tuebingen benchmark uses.

    >>> auc(torch.zeros(1, 4, 4), torch.eye(4)[None]).item()
    0.5
    """
    return torch.stack([_image_auc(m, f) for m, f in zip(log_density, fixations, strict=True)])


def sauc(log_density: MapBatch, fixations: MapBatch, other_fixations: MapBatch) -> ImageScores:
    """Shuffled AUC: this image's fixations against those on other images, exact; ties count half.

    The centre prior scores about 0.5. Every fixation counts, also on the same pixel. NaN where
    either image has no fixation. Not differentiable. Source: `AUC(nonfixations='shuffled')` of
    pysaliency.

    Args:
        log_density: `(B, H, W)`.
        fixations: counts, `(B, H, W)`.
        other_fixations: counts of all fixations on all other images, rescaled to (H, W).

    Raises:
        ValueError: `other_fixations` has a fraction of a fixation.

    >>> others = torch.tensor([[[0.0, 1.0], [1.0, 2.0]]])
    >>> sauc(torch.tensor([[[2.0, 2.0], [1.0, 0.0]]]), torch.tensor([[[1.0, 0, 0, 0]]])
    ...      .view(1, 2, 2), others).item()
    0.875
    """
    rows = zip(log_density, fixations, other_fixations, strict=True)
    return torch.stack([_image_auc(m, f, o) for m, f, o in rows])


def information_gain(
    log_density: MapBatch, fixations: MapBatch, baseline_log_density: MapBatch
) -> ImageScores:
    """Information gain of the density over a baseline, in bits per fixation.

    The mean of log₂P − log₂B over fixations (Kuemmerer et al. 2015). It is −∞ where P is 0 at a
    fixated pixel, and NaN without fixations. A table must name the baseline B.

    >>> baseline = torch.full((1, 2, 2), 0.25).log()
    >>> sure = torch.tensor([[[0.5, 0.5], [0.0, 0.0]]]).log()
    >>> information_gain(sure, torch.tensor([[[3.0, 1.0], [0.0, 0.0]]]), baseline).item()
    1.0
    """
    at = true_positions(fixations.flatten().bool())
    log_p, log_b, counts = (
        at_least_float32(x.flatten()[at]) for x in (log_density, baseline_log_density, fixations)
    )
    gain = (log_p - log_b) * counts
    totals = gain.new_zeros(2, len(fixations))
    image = at // fixations[0].numel()
    total, number = totals.index_add(1, image, torch.stack([gain, counts.to(gain)]))
    gained: Tensor = total / (number * math.log(2))
    return gained


def emd(log_density: MapBatch, density: MapBatch) -> ImageScores:
    """Earth mover's distance between prediction and truth, in cells of 32 pixels; 0 is perfect.

    Both are summed in cells of 32x32 pixels (the factor of the MIT benchmark; cells at the right
    and lower edge may be smaller) and normalised. The value is the least mean Euclidean distance
    over which mass must be moved. It is solved exactly in float64 (Rubner et al. 2000, network
    simplex of POT) in about .1 s an image. A constant map is the uniform density. NaN where a
    density has no mass or a map has a NaN. Not differentiable.

    Raises:
        ImportError: POT is not installed.

    >>> left, right = torch.full((1, 1, 96), -torch.inf), torch.zeros(1, 1, 96)
    >>> left[..., 0], right[..., -1] = 0.0, 1.0
    >>> emd(left, right).item()
    2.0
    """
    pairs = zip(
        at_least_float32(log_density.detach()), at_least_float32(density.detach()), strict=True
    )
    return torch.stack([transport_distance((p - p.amax()).exp(), q) for p, q in pairs])


def at_least_float32(values: Tensor) -> Tensor:
    """Return float64 as it is and every other type as float32."""
    return values if values.dtype == torch.float64 else values.float()


def nan_without_mass(scores: ImageScores, density: MapBatch) -> ImageScores:
    """Return the scores, NaN where the true density is zero everywhere: nothing was fixated."""
    return scores.masked_fill(density.amax((-2, -1)) <= 0, math.nan)


def _image_auc(
    log_density: Float[Tensor, "H W"],
    fixations: Float[Tensor, "H W"],
    other_fixations: Float[Tensor, "H W"] | None = None,
) -> Float[Tensor, ""]:
    """Return the area against all pixels, or against the pixels of other fixations."""
    pixels = negatives = at_least_float32(log_density.detach()).flatten()
    fixated = true_positions(fixations.flatten().bool())
    weights, count = fixations.flatten()[fixated].double(), count_below
    if other_fixations is not None:
        elsewhere = true_positions(other_fixations.flatten().bool())
        repeats, count = other_fixations.flatten()[elsewhere], count_below_by_sorting
        if (repeats % 1).any():
            raise ValueError(
                "other_fixations must be whole counts; a resized or blurred map is not"
            )
        negatives = pixels[elsewhere].repeat_interleave(repeats.long())
    if not len(weights) or not len(negatives) or pixels.min().isnan():
        return pixels.new_tensor(math.nan)
    smaller, equal = count(negatives, pixels[fixated])
    area: Tensor = ((smaller + equal / 2) * weights).sum() / (len(negatives) * weights.sum())
    return area.to(pixels.dtype)


def _density_times_pixels(log_density: MapBatch) -> MapBatch:
    """Return the density times the number of pixels, whose squares stay in float32's range.

    As a power of 2: half the time of torch's `exp` on a CPU.
    """
    log = at_least_float32(log_density)
    pixels = log.new_full((), math.log2(log_density[0].numel()))
    return torch.add(pixels, log, alpha=math.log2(math.e)).exp2()


def _centred_and_inverse_std(
    values: MapBatch, mask: PixelMask | None = None
) -> tuple[MapBatch, ImageScores]:
    """Return the values less their mean, and 1 / their standard deviation: 0 for a constant map.

    Pixels outside the mask count as the mean: 0.
    """
    low = high = values.detach()
    if mask is not None:
        low, high = low.masked_fill(~mask, math.inf), high.masked_fill(~mask, -math.inf)
    constant = high.amax((-2, -1)) == low.amin((-2, -1))
    centred = values - _mean_over_pixels(values, mask)
    if mask is not None:
        centred = centred.masked_fill(~mask, 0)
    variance = _mean_over_pixels(centred.square(), mask)[:, 0, 0].masked_fill(constant, 1)
    return centred, variance.rsqrt().masked_fill(constant, 0)


def _mean_over_pixels(values: MapBatch, mask: PixelMask | None) -> Float[Tensor, "B 1 1"]:
    """Return the mean over the mask's pixels of values that are 0 at the others."""
    if mask is None:
        return values.mean((-2, -1), keepdim=True)
    return values.sum((-2, -1), keepdim=True) / mask.sum((-2, -1), keepdim=True)


RANK_BINS = 1 << 14


def count_below(pixels: Float[Tensor, " N"], values: Float[Tensor, " V"]) -> Float[Tensor, "2 V"]:
    """Count, for each value, the pixels that are smaller and those that are equal.

    This is faster than sorting half a million pixels. They are counted in 2¹⁴ bins that span the
    values, and only the pixels of a bin with a value are compared with it. Rounding keeps the order
    of bins, so the counts are exact whatever the bins.

    >>> count_below(torch.tensor([3.0, 1.0, 2.0, 2.0]), torch.tensor([2.0])).tolist()
    [[1.0], [2.0]]
    """
    finite = values[values.isfinite()]
    low, high = (finite.min(), finite.max()) if len(finite) else (values.new_zeros(()),) * 2
    scale = (RANK_BINS / (high - low)).clamp(max=torch.finfo(pixels.dtype).max)
    bins = pixels.sub(low).mul_(scale).clamp_(-1, RANK_BINS).add_(1).int()
    value_bins = values.sub(low).mul_(scale).clamp_(-1, RANK_BINS).add_(1).int()
    occupied = torch.zeros(RANK_BINS + 2, dtype=torch.bool, device=pixels.device)
    occupied[value_bins] = True
    near = pixels[true_positions(occupied.index_select(0, bins))]
    counts = torch.bincount(bins, minlength=RANK_BINS + 2)
    before = counts.masked_fill(occupied, 0).cumsum(0)[value_bins]
    smaller, equal = count_below_by_sorting(near, values)
    return torch.stack([before + smaller, equal]).double()


def count_below_by_sorting(
    pixels: Float[Tensor, " N"], values: Float[Tensor, " V"]
) -> Int[Tensor, "2 V"]:
    """Count the pixels that are smaller than, and equal to, each value, by sorting them."""
    ordered = sort_last(pixels)
    values = values.contiguous()
    smaller = torch.searchsorted(ordered, values)
    return torch.stack([smaller, torch.searchsorted(ordered, values, right=True) - smaller])


def sort_last(values: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Sort along the last axis; on a CPU, NumPy sorts float32 many times as fast as torch."""
    if values.device.type == "cpu":
        return torch.from_numpy(np.sort(values.numpy()))
    return values.sort().values


def true_positions(mask: Bool[Tensor, " N"]) -> Int[Tensor, " C"]:
    """Return the positions of true entries; on a CPU, NumPy takes a tenth of torch's time."""
    if mask.device.type == "cpu":
        return torch.from_numpy(np.flatnonzero(mask.numpy()))
    return mask.nonzero()[:, 0]
