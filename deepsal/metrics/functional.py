"""Saliency scores as pure functions, so that losses, metrics and tables share one definition.

Every score takes a log density over pixels `(B, H, W)` and a ground truth of the same shape, and
returns one value per image `(B,)`. `fixations` are counts per pixel (duplicates count), `density`
sums to one. Half precision is computed in float32, float64 stays float64. Definitions follow
Bylinskii et al. 2018 (arXiv 1604.03605) as the MIT/Tuebingen benchmark computes them today (its
older ones are in `deepsal.metrics.mit_benchmark`); an image without a fixation scores NaN, never a
silent zero.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from deepsal.metrics.earth_mover import transport_distance
from deepsal.metrics.roc_ranks import count_below, count_below_by_sorting, true_positions

MapBatch = Float[Tensor, "B H W"]
ImageScores = Float[Tensor, " B"]

KL_EPSILON = 2.2204e-16
"""MATLAB's machine epsilon, the constant of the MIT benchmark's KL."""


def kl(log_density: MapBatch, density: MapBatch) -> ImageScores:
    """How much of the truth the prediction misses, in nats; lower is better, 0 is perfect.

    Σ G·log(ε + G/(P+ε)), the ground truth G first (MIT `KLdiv`, Bylinskii et al. 2018).

    >>> uniform = torch.full((1, 4, 4), 1 / 16)
    >>> kl(uniform.log(), uniform).abs().item() < 1e-6
    True
    """
    prediction, truth = _at_least_float32(log_density).exp(), _at_least_float32(density)
    return (truth * (KL_EPSILON + truth / (prediction + KL_EPSILON)).log()).sum((-2, -1))


def cc(log_density: MapBatch, density: MapBatch) -> ImageScores:
    """Pearson correlation of the two densities over the pixels of an image; 1 is perfect.

    A constant map correlates with nothing: 0, with a gradient of 0.

    >>> ramp = torch.arange(1.0, 17).view(1, 4, 4)
    >>> round(cc((3 * ramp + 2).log(), ramp).item(), 6)
    1.0
    """
    prediction, per_std = _centred_and_inverse_std(_density_times_pixels(log_density))
    truth, per_true_std = _centred_and_inverse_std(_at_least_float32(density) * density[0].numel())
    return (prediction * truth).mean((-2, -1)) * per_std * per_true_std


def sim(log_density: MapBatch, density: MapBatch) -> ImageScores:
    """Overlap Σ min(P, G) of the two densities (histogram intersection); 1 is perfect.

    >>> uniform = torch.full((1, 4, 4), 1 / 16)
    >>> sim(uniform.log(), uniform).item()
    1.0
    """
    return torch.minimum(_at_least_float32(log_density).exp(), _at_least_float32(density)).sum(
        (-2, -1)
    )


def nss(log_density: MapBatch, fixations: MapBatch) -> ImageScores:
    """Normalised scanpath saliency: the mean z-score of the density at the fixations.

    The standard deviation is the population's (ddof 0). A constant map scores 0, an image without
    fixations NaN (Peters et al. 2005).

    >>> density = torch.tensor([[[0.7, 0.1], [0.1, 0.1]]])
    >>> round(nss(density.log(), torch.tensor([[[2.0, 0.0], [0.0, 0.0]]])).item(), 4)
    1.7321
    """
    counts = _at_least_float32(fixations)
    centred, per_std = _centred_and_inverse_std(_density_times_pixels(log_density))
    return (centred * counts).sum((-2, -1)) / counts.sum((-2, -1)) * per_std


def auc(log_density: MapBatch, fixations: MapBatch) -> ImageScores:
    """Area under the ROC curve of fixated against all pixels, exact: no thresholds, ties half.

    The mean, over fixations, of the share of pixels with a smaller value; a constant map scores
    0.5, an image without fixations or a map with a NaN scores NaN (`AUC(nonfixations='uniform')`
    of pysaliency, the Tuebingen benchmark's). Not differentiable.

    >>> auc(torch.zeros(1, 4, 4), torch.eye(4)[None]).item()
    0.5
    """
    return torch.stack([_image_auc(m, f) for m, f in zip(log_density, fixations, strict=True)])


def sauc(log_density: MapBatch, fixations: MapBatch, others: MapBatch) -> ImageScores:
    """AUC of this image's fixations against those of *other* images: a centre prior gains nothing.

    Exact, ties half, every fixation of either kind counts as often as it was made
    (`AUC(nonfixations='shuffled')` of pysaliency). NaN where either has none. Not differentiable.

    Args:
        log_density: `(B, H, W)`.
        fixations: counts, `(B, H, W)`.
        others: counts of all fixations of all other images, rescaled to this image's size.

    Raises:
        ValueError: `others` has a fraction of a fixation.

    >>> others = torch.tensor([[[0.0, 1.0], [1.0, 2.0]]])
    >>> sauc(torch.tensor([[[2.0, 2.0], [1.0, 0.0]]]), torch.tensor([[[1.0, 0, 0, 0]]])
    ...      .view(1, 2, 2), others).item()
    0.875
    """
    rows = zip(log_density, fixations, others, strict=True)
    return torch.stack([_image_sauc(m, f, o) for m, f, o in rows])


def information_gain(
    log_density: MapBatch, fixations: MapBatch, baseline_log_density: MapBatch
) -> ImageScores:
    """How much better than a baseline the density explains the fixations, in bits per fixation.

    The mean of log₂P − log₂B over fixations (Kuemmerer et al. 2015): −∞ where P rules out a pixel
    that was fixated, NaN without fixations. A table must name the baseline.

    >>> baseline = torch.full((1, 2, 2), 0.25).log()
    >>> sure = torch.tensor([[[0.5, 0.5], [0.0, 0.0]]]).log()
    >>> information_gain(sure, torch.tensor([[[3.0, 1.0], [0.0, 0.0]]]), baseline).item()
    1.0
    """
    at = true_positions(fixations.flatten().bool())
    log_p, log_b, counts = (
        _at_least_float32(x.flatten()[at]) for x in (log_density, baseline_log_density, fixations)
    )
    gain = (log_p - log_b) * counts
    totals = gain.new_zeros(2, len(fixations))
    image = at // fixations[0].numel()
    total, number = totals.index_add(1, image, torch.stack([gain, counts.to(gain)]))
    gained: Tensor = total / (number * math.log(2))
    return gained


def emd(log_density: MapBatch, density: MapBatch) -> ImageScores:
    """Earth mover's distance: how far the prediction's mass lies from the truth's; 0 is perfect.

    Both are summed in cells of 32x32 pixels (the factor of the MIT benchmark; cells at the right
    and lower edge may be smaller) and normalised; the value is the least mean distance over which
    mass must be moved, Euclidean between cells, in cells: times 32 for pixels. Solved exactly in
    float64 (Rubner et al. 2000, network simplex of POT), about .1 s an image. A constant map is the
    uniform density; NaN where a density has no mass or a map has a NaN. Not differentiable.

    Raises:
        ImportError: POT is not installed.

    >>> left, right = torch.full((1, 1, 96), -torch.inf), torch.zeros(1, 1, 96)
    >>> left[..., 0], right[..., -1] = 0.0, 1.0
    >>> emd(left, right).item()
    2.0
    """
    pairs = zip(
        _at_least_float32(log_density.detach()), _at_least_float32(density.detach()), strict=True
    )
    return torch.stack([transport_distance((p - p.amax()).exp(), q) for p, q in pairs])


def _image_auc(
    log_density: Float[Tensor, "H W"], fixations: Float[Tensor, "H W"]
) -> Float[Tensor, ""]:
    pixels = _at_least_float32(log_density.detach()).flatten()
    here = true_positions(fixations.flatten().bool())
    weights = fixations.flatten()[here].double()
    if not len(weights) or pixels.min().isnan():
        return pixels.new_tensor(math.nan)
    smaller, equal = count_below(pixels, pixels[here])
    area: Tensor = ((smaller + equal / 2) * weights).sum() / (len(pixels) * weights.sum())
    return area.to(pixels.dtype)


def _image_sauc(
    log_density: Float[Tensor, "H W"], fixations: Float[Tensor, "H W"], others: Float[Tensor, "H W"]
) -> Float[Tensor, ""]:
    pixels = _at_least_float32(log_density.detach()).flatten()
    here, there = (true_positions(x.flatten().bool()) for x in (fixations, others))
    weights, against = fixations.flatten()[here].double(), others.flatten()[there]
    if not len(weights) or not len(against) or pixels.min().isnan():
        return pixels.new_tensor(math.nan)
    if (against % 1).any():
        raise ValueError("others must be whole counts; a resized or blurred fixation map is not")
    negatives = pixels[there].repeat_interleave(against.long())
    smaller, equal = count_below_by_sorting(negatives, pixels[here])
    area: Tensor = ((smaller + equal / 2) * weights).sum() / (len(negatives) * weights.sum())
    return area.to(pixels.dtype)


def _at_least_float32(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()


def _density_times_pixels(log_density: MapBatch) -> MapBatch:
    """Return the density times the number of pixels, whose squares stay in float32's range.

    As a power of 2: half the time of torch's `exp` on a CPU.
    """
    log = _at_least_float32(log_density)
    pixels = log.new_full((), math.log2(log_density[0].numel()))
    return torch.add(pixels, log, alpha=math.log2(math.e)).exp2()


def _centred_and_inverse_std(values: MapBatch) -> tuple[MapBatch, ImageScores]:
    """Return the values less their mean, and 1 / their standard deviation: 0 for a constant map."""
    flat = values.detach()
    constant = flat.amax((-2, -1)) == flat.amin((-2, -1))
    centred = values - values.mean((-2, -1), keepdim=True)
    variance = centred.square().mean((-2, -1)).masked_fill(constant, 1)
    return centred, variance.rsqrt().masked_fill(constant, 0)
