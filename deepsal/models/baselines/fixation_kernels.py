"""Kernel densities of fixations with adaptive bandwidths, and the weights of a mixture of them.

Letters of shapes: N fixations of an image, P people, V sets of fixations, K kernels or components.
Points are (x, y) in pixels, see `deepsal.data.dataset`. An extent is (width, height).
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

BANDWIDTH_FACTORS = (0.25, 4.0)
"""Limits of a fixation's bandwidth over the common one."""
EM_STEPS, EM_TOLERANCE = 500, 1e-5
"""Steps of EM at most, and the change of every weight of a set below which it ends."""


def mass_inside(
    points: Float[Tensor, "N 2"], sd: Float[Tensor, "*sets N"], extent: Float[Tensor, "2"]
) -> Float[Tensor, "*sets N"]:
    """Return the share of a Gaussian on each point that lies inside the image.

    Args:
        points: centres of the Gaussians.
        sd: standard deviations in pixels.
        extent: of the image.
    """
    low, high = ((edge - points) / sd[..., None] for edge in (torch.tensor(-0.5), extent - 0.5))
    inside: Tensor = torch.special.ndtr(high) - torch.special.ndtr(low)
    return inside.prod(-1)


def adaptive_bandwidths(
    points: Float[Tensor, "N 2"], members: Bool[Tensor, "V N"], bandwidth: float
) -> Float[Tensor, "V N"]:
    """Return a bandwidth for each fixation: small where the others of its set are dense.

    sd_m = h √(g / f(x_m)). f is the kernel density of the set with bandwidth h, and g the geometric
    mean of f over the set. The factor is limited to `BANDWIDTH_FACTORS`. Fixations outside a set do
    not change its bandwidths. Abramson 1982, "On bandwidth variation in kernel estimates – a square
    root law", Ann. Stat. 10:1217.

    Args:
        points: the fixations.
        members: of each set; a value for a fixation outside the set has no meaning.
        bandwidth: h in pixels.

    >>> points = torch.tensor([[0.0, 0.0], [0.0, 0.0], [9.0, 0.0]])
    >>> adaptive_bandwidths(points, torch.tensor([[True, True, True]]), 1.0).round(decimals=2)
    tensor([[0.8900, 0.8900, 1.2600]])
    """
    weights = members.to(points)
    kernel = torch.exp(-_squared_distances(points) / (2 * bandwidth**2))
    log_density = (weights @ kernel).clamp_min(torch.finfo(points.dtype).tiny).log()
    count = weights.sum(1, keepdim=True).clamp_min(1)
    mean = (weights * log_density).sum(1, keepdim=True) / count
    return bandwidth * (0.5 * (mean - log_density)).exp().clamp(*BANDWIDTH_FACTORS)


def held_out_densities(
    points: Float[Tensor, "N 2"],
    observers: Int[Tensor, " N"],
    predicting: Bool[Tensor, "V N"],
    extent: Float[Tensor, "2"],
    bandwidths: Sequence[float],
) -> Float[Tensor, "V N K"]:
    """Return the density at each fixation of the other people's fixations in each set, per pixel.

    A fixation is predicted by the members of the set that are not of its own observer. Each kernel
    density sums to 1 over the image.

    Args:
        points: the fixations.
        observers: of each fixation.
        predicting: the sets.
        extent: of the image.
        bandwidths: the K common bandwidths of `adaptive_bandwidths`, in pixels.

    Returns:
        The densities; NaN where a set has nobody else.
    """
    people, own = observers.unique(return_inverse=True)
    others = predicting[:, None] & (observers != people[:, None])
    squared, densities = _squared_distances(points), []
    for bandwidth in bandwidths:
        sd = adaptive_bandwidths(points, others.flatten(0, 1), bandwidth).view(others.shape)
        height = others / (2 * torch.pi * sd.square())
        mass = (others * mass_inside(points, sd, extent)).sum(-1)
        densities.append(
            torch.stack(
                [
                    (h[own] * torch.exp(-squared / (2 * s[own].square()))).sum(1) / m[own]
                    for h, s, m in zip(height, sd, mass, strict=True)
                ]
            )
        )
    return torch.stack(densities, -1)


def fit_mixture_weights(
    densities: Float[Tensor, "V N K"],
    counted: Bool[Tensor, "V N"],
    prior: Float[Tensor, " K"],
    concentration: float,
    steps: int = EM_STEPS,
) -> Float[Tensor, "V K"]:
    """Fit the weights of K densities to fixations, for each of V sets.

    The weights maximise Σ_n log Σ_k w_k d_nk + c Σ_k prior_k log w_k, a concave function, by
    expectation maximisation. The second sum is a Dirichlet prior that counts as c fixations. A set
    without a fixation has the weights of the prior.

    Args:
        densities: d, of every component at every fixation; only counted ones are read.
        counted: the fixations of each set.
        prior: weights that are above 0 and sum to 1.
        concentration: c, above 0.
        steps: of EM at most.

    >>> densities = torch.tensor([[[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]])
    >>> prior = torch.tensor([0.5, 0.5])
    >>> fit_mixture_weights(densities, torch.ones(1, 3, dtype=torch.bool), prior, 1.0)
    tensor([[0.6250, 0.3750]])
    """
    likelihood = densities.masked_fill(~counted[..., None], 1)
    total = concentration + counted.sum(1, keepdim=True)
    weights = prior.expand(len(densities), -1)
    for _ in range(steps):
        per_fixation = counted[..., None] / (likelihood @ weights[..., None])
        expected = weights * (likelihood.mT @ per_fixation)[..., 0]
        updated = (concentration * prior + expected) / total
        moving = ((updated - weights).abs() >= EM_TOLERANCE).any(1, keepdim=True)
        if not moving.any():
            break
        weights = torch.where(moving, updated, weights)  # the steps of a set depend on it alone
    return weights


def mixture_map(
    points: Float[Tensor, "N 2"],
    sd: Float[Tensor, "K N 2"],
    weights: Float[Tensor, " K"],
    size: tuple[int, int],
) -> Float[Tensor, "H W"]:
    """Return the weighted sum of K kernel densities of the same fixations, float32.

    Args:
        points: in pixels of the map.
        sd: standard deviation of each kernel on each fixation, in x and y, in pixels of the map.
        weights: of the kernel densities, each of which sums to 1 over the map.
        size: (H, W) of the map.
    """
    across, down = (
        torch.exp(-0.5 * ((torch.arange(n)[:, None, None] - at) / s).square())
        for n, at, s in zip(size[::-1], points.T, sd.unbind(-1), strict=True)
    )
    height = 1 / sd.prod(-1)
    mass = (height * across.sum(0) * down.sum(0)).sum(1, keepdim=True)
    scaled = (down * (weights[:, None] * height / mass)).flatten(1)
    return scaled.float() @ across.flatten(1).float().T


def _squared_distances(points: Float[Tensor, "N 2"]) -> Float[Tensor, "N N"]:
    return (points[:, None] - points).square().sum(-1)
