"""Earth mover's distance between two maps, on cells of 32x32 pixels."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

CELL_SIDE = 32
"""Side of a cell in pixels: the MIT benchmark shrinks maps to 1/32."""
MAX_ITERATIONS = 10_000_000
EXACT_CDIST_MODE = "donot_use_mm_for_euclid_dist"


def transport_distance(one: Float[Tensor, "H W"], other: Float[Tensor, "H W"]) -> Float[Tensor, ""]:
    """Return the least mean distance, in cells, over which mass moves from one map to the other.

    It is NaN where a map has no mass or a value that is not finite.

    >>> dot = torch.eye(64)[:1]
    >>> transport_distance(dot, dot.flip(1)).item()
    1.0
    """
    masses = [sum_cells(values.double()).cpu() for values in (one, other)]
    if not all(mass.isfinite().all() and mass.sum() > 0 for mass in masses):
        return one.new_tensor(math.nan)
    at = torch.cartesian_prod(*(torch.arange(n, dtype=torch.float64) for n in masses[0].shape))
    filled = [mass.flatten().nonzero()[:, 0] for mass in masses]
    distance = torch.cdist(at[filled[0]], at[filled[1]], compute_mode=EXACT_CDIST_MODE)
    weights = ((m.flatten()[h] / m.sum()).numpy() for m, h in zip(masses, filled, strict=True))
    return one.new_tensor(
        float(load_emd_solver()(*weights, distance.numpy(), numItermax=MAX_ITERATIONS))
    )


def load_emd_solver() -> Callable[..., float]:
    """Return POT's exact solver: weights, weights, distances → the least mean distance.

    Raises:
        ImportError: POT is not installed.
    """
    try:
        from ot import emd2
    except ImportError as error:
        raise ImportError("the score emd needs POT: pip install 'deepsal[emd]'") from error
    solver: Callable[..., float] = emd2
    return solver


def sum_cells(values: Float[Tensor, "H W"]) -> Float[Tensor, "h w"]:
    """Sum a map in cells of 32x32 pixels; those at the right and lower edge may be smaller.

    >>> sum_cells(torch.ones(33, 64)).tolist()
    [[1024.0, 1024.0], [32.0, 32.0]]
    """
    short = (-n % CELL_SIDE for n in reversed(values.shape))
    right, lower = short
    padded = torch.nn.functional.pad(values, (0, right, 0, lower))
    height, width = (n // CELL_SIDE for n in padded.shape)
    return padded.view(height, CELL_SIDE, width, CELL_SIDE).sum((1, 3))
