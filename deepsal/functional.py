"""Saliency scores as pure functions, so that losses, metrics and tables share one definition.

Every score takes a log density over pixels `(B, H, W)` and a ground truth of the same shape, and
returns one value per image `(B,)`. `fixations` are counts per pixel (duplicates count), `density`
sums to one. Half precision is computed in float32, float64 stays float64. Definitions follow
Bylinskii et al. 2018 (arXiv 1604.03605) as the MIT/Tuebingen benchmark computes them; an image
without a fixation scores NaN, never a silent zero.
"""

import torch
from jaxtyping import Float
from torch import Tensor

Map = Float[Tensor, "B H W"]
Score = Float[Tensor, " B"]

EPSILON = 2.2204e-16
"""MATLAB's machine epsilon, the constant of the MIT benchmark's KL."""


def kl(log_density: Map, density: Map) -> Score:
    """How much of the truth the prediction misses, in nats; lower is better, 0 is perfect.

    Σ G·log(ε + G/(P+ε)), the ground truth G first (MIT `KLdiv`, Bylinskii et al. 2018).

    >>> uniform = torch.full((1, 4, 4), 1 / 16)
    >>> kl(uniform.log(), uniform).abs().item() < 1e-6
    True
    """
    prediction, truth = _wide(log_density).exp(), _wide(density)
    return (truth * (EPSILON + truth / (prediction + EPSILON)).log()).sum((-2, -1))


def cc(log_density: Map, density: Map) -> Score:
    """Pearson correlation of the two densities over the pixels of an image; 1 is perfect.

    A constant map correlates with nothing: 0, with a gradient of 0.

    >>> ramp = torch.arange(1.0, 17).view(1, 4, 4)
    >>> round(cc((3 * ramp + 2).log(), ramp).item(), 6)
    1.0
    """
    prediction, truth = _standardised(_wide(log_density).exp()), _standardised(_wide(density))
    return (prediction * truth).mean((-2, -1))


def sim(log_density: Map, density: Map) -> Score:
    """Overlap Σ min(P, G) of the two densities (histogram intersection); 1 is perfect.

    >>> uniform = torch.full((1, 4, 4), 1 / 16)
    >>> sim(uniform.log(), uniform).item()
    1.0
    """
    return torch.minimum(_wide(log_density).exp(), _wide(density)).sum((-2, -1))


def nss(log_density: Map, fixations: Map) -> Score:
    """Normalised scanpath saliency: the mean z-score of the density at the fixations.

    The standard deviation is the population's (ddof 0). A constant map scores 0, an image without
    fixations NaN (Peters et al. 2005).

    >>> density = torch.tensor([[[0.7, 0.1], [0.1, 0.1]]])
    >>> round(nss(density.log(), torch.tensor([[[2.0, 0.0], [0.0, 0.0]]])).item(), 4)
    1.7321
    """
    counts = _wide(fixations)
    z = _standardised(_wide(log_density).exp())
    return (z * counts).sum((-2, -1)) / counts.sum((-2, -1))


def auc(log_density: Map, fixations: Map) -> Score:
    """Area under the ROC curve of fixated against all pixels, exact: no thresholds, ties half.

    The mean, over fixations, of the share of pixels with a smaller value; a constant map scores
    0.5, an image without fixations NaN (`AUC(nonfixations='uniform')` of pysaliency, the
    Tuebingen benchmark's). Not differentiable.

    >>> auc(torch.zeros(1, 4, 4), torch.eye(4)[None]).item()
    0.5
    """
    return torch.stack([_auc(m, f) for m, f in zip(log_density, fixations, strict=True)])


def _auc(log_density: Float[Tensor, "H W"], fixations: Float[Tensor, "H W"]) -> Float[Tensor, ""]:
    fixated = fixations > 0
    weights = fixations[fixated].double()
    ranked = log_density.detach().flatten().sort().values
    values = log_density.detach()[fixated]
    smaller = torch.searchsorted(ranked, values) + torch.searchsorted(ranked, values, right=True)
    area = (smaller * weights).sum() / (2 * ranked.numel() * weights.sum())
    return area.to(_wide(log_density).dtype)


def _wide(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()


def _standardised(values: Map) -> Map:
    constant = values.amax((-2, -1), keepdim=True) == values.amin((-2, -1), keepdim=True)
    scaled = values * values[0].numel()  # densities have a mean of 1/N: keep their squares in range
    centred = scaled - scaled.mean((-2, -1), keepdim=True)
    variance = centred.square().mean((-2, -1), keepdim=True)
    return centred.masked_fill(constant, 0) / variance.masked_fill(constant, 1).sqrt()
