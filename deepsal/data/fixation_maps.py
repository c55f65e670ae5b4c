"""From fixation coordinates to count maps and densities."""

from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor


def rasterise_fixations(
    points: Float[Tensor, "N 2"],
    size: tuple[int, int],
    grid: tuple[int, int],
    into: Float[Tensor, "H W"] | None = None,
) -> Float[Tensor, "H W"]:
    """Count the fixations that fall into each cell of a grid laid over the image.

    No fixation is ever lost, whatever the grid (resizing a fixation image by nearest neighbour to
    256x256 keeps 14 % of them on OSIE).

    Args:
        points: (x, y) in pixels of the image, 0-based, pixel i covering [i−½, i+½); the far border
            W−½, where a flip takes −½, counts as the last pixel.
        size: (height, width) of that image.
        grid: (H, W) of the result.
        into: zeros of that shape, contiguous, which are counted into and returned.

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
    counts = torch.zeros(grid) if into is None else into
    counts.view(-1).scatter_add_(0, row * grid[1] + column, torch.ones(len(points)))
    return counts


def fixation_density(
    counts: Float[Tensor, "H W"], sigma: tuple[float, float]
) -> Float[Tensor, "H W"]:
    """Return the counts convolved with a Gaussian and normalised to a density (sum 1).

    Zero beyond the borders, not truncated; `sigma` is (vertical, horizontal) in cells.

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
