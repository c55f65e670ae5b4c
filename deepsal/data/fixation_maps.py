"""Fixation counts on a grid, and their blurred density."""

from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor


def rasterise_fixations(
    points: Float[Tensor, "N 2"],
    size: tuple[int, int],
    grid: tuple[int, int],
    out: Float[Tensor, "H W"] | None = None,
) -> Float[Tensor, "H W"]:
    """Count the fixations in each cell of a grid that covers the image.

    Every fixation is counted, for any grid. (On OSIE, resizing a fixation image to 256x256 by
    nearest neighbour loses 86 % of them.)

    Args:
        points: (x, y) in pixels of the image, 0-based, pixel i covers [i−½, i+½). The far border
            W−½, to which a flip moves −½, belongs to the last pixel.
        size: (height, width) of that image.
        grid: (H, W) of the result.
        out: zeros of that shape, contiguous, that receive the counts; None for a new tensor.

    Raises:
        ValueError: a point lies off the image.

    >>> rasterise_fixations(torch.tensor([[0.0, 0.0], [3.4, 0.0]]), (4, 4), (2, 2)).tolist()
    [[1.0, 1.0], [0.0, 0.0]]
    """
    fraction = (points.double() + 0.5) / torch.tensor([size[1], size[0]], dtype=torch.float64)
    inside = ((fraction >= 0) & (fraction <= 1)).all(1)
    if not inside.all():
        x, y = points[~inside][0].tolist()
        raise ValueError(f"fixation ({x:g}, {y:g}) lies off its {size[1]}x{size[0]} image")
    cells = (fraction * torch.tensor([grid[1], grid[0]])).long()
    column, row = (cells[:, axis].clamp(max=grid[1 - axis] - 1) for axis in (0, 1))
    counts = torch.zeros(grid) if out is None else out
    counts.view(-1).scatter_add_(0, row * grid[1] + column, torch.ones(len(points)))
    return counts


def fixation_density(
    counts: Float[Tensor, "H W"], sigma: tuple[float, float]
) -> Float[Tensor, "H W"]:
    """Convolve counts with a Gaussian and normalise them to a density (sum 1).

    The Gaussian is not truncated. The counts outside the map are zero.

    Args:
        counts: (H, W).
        sigma: (vertical, horizontal) standard deviation in cells.

    Raises:
        ValueError: the map is empty.
    """
    if counts.sum() <= 0:
        raise ValueError("a map without a fixation has no density")
    down, across = (_gaussian_matrix(n, s) for n, s in zip(counts.shape, sigma, strict=True))
    smooth = down @ counts @ across
    return smooth / smooth.sum()


@lru_cache(maxsize=64)
def _gaussian_matrix(n: int, sigma: float) -> Float[Tensor, "n n"]:
    at = torch.arange(n, dtype=torch.float64)
    return torch.exp(-0.5 * ((at[:, None] - at) / sigma).square()).float()
