"""The least work that turns one density into another: the earth mover's distance."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

CELL = 32
"""Side of a cell in pixels: the MIT benchmark shrinks maps to 1/32."""
STEPS = 10_000_000
EXACT = "donot_use_mm_for_euclid_dist"


def transport(one: Float[Tensor, "H W"], other: Float[Tensor, "H W"]) -> Float[Tensor, ""]:
    """Return the mean distance, in cells, over which mass must move from one map to the other.

    >>> dot = torch.eye(64)[:1]
    >>> transport(dot, dot.flip(1)).item()
    1.0
    """
    masses = [cells(values.double()).cpu() for values in (one, other)]
    if not all(mass.isfinite().all() and mass.sum() > 0 for mass in masses):
        return one.new_tensor(math.nan)
    at = torch.cartesian_prod(*(torch.arange(n, dtype=torch.float64) for n in masses[0].shape))
    held = [mass.flatten().nonzero()[:, 0] for mass in masses]
    distance = torch.cdist(at[held[0]], at[held[1]], compute_mode=EXACT)
    weights = ((m.flatten()[h] / m.sum()).numpy() for m, h in zip(masses, held, strict=True))
    return one.new_tensor(float(solver()(*weights, distance.numpy(), numItermax=STEPS)))


def solver() -> Callable[..., float]:
    """Return POT's exact solver: weights, weights, distances → the least mean distance.

    Raises:
        ImportError: POT is not installed.
    """
    try:
        from ot import emd2
    except ImportError as error:
        raise ImportError("the score emd needs POT: pip install 'deepsal[emd]'") from error
    found: Callable[..., float] = emd2
    return found


def cells(values: Float[Tensor, "H W"]) -> Float[Tensor, "h w"]:
    """Sum a map in cells of 32x32 pixels; those at the right and lower edge may be smaller.

    >>> cells(torch.ones(33, 64)).tolist()
    [[1024.0, 1024.0], [32.0, 32.0]]
    """
    short = (-n % CELL for n in reversed(values.shape))
    right, lower = short
    padded = torch.nn.functional.pad(values, (0, right, 0, lower))
    height, width = (n // CELL for n in padded.shape)
    return padded.view(height, CELL, width, CELL).sum((1, 3))
