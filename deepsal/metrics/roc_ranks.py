"""How many pixels lie below a value: what areas under ROC curves are made of."""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

RANK_BINS = 1 << 14


def count_below(pixels: Float[Tensor, " N"], values: Float[Tensor, " V"]) -> Float[Tensor, "2 V"]:
    """Count, for each value, the pixels that are smaller and those that are equal: exact ROC ranks.

    Faster than sorting half a million pixels: they are dropped into 2¹⁴ bins that span the values,
    and only those in a bin with a value are compared with it. Rounding keeps the order of bins, so
    the counts are exact whatever the bins.

    >>> count_below(torch.tensor([3.0, 1.0, 2.0, 2.0]), torch.tensor([2.0])).tolist()
    [[1.0], [2.0]]
    """
    finite = values[values.isfinite()]
    low, high = (finite.min(), finite.max()) if len(finite) else (values.new_zeros(()),) * 2
    scale = (RANK_BINS / (high - low)).clamp(max=torch.finfo(pixels.dtype).max)
    bins = pixels.sub(low).mul_(scale).clamp_(-1, RANK_BINS).add_(1).int()
    asked = values.sub(low).mul_(scale).clamp_(-1, RANK_BINS).add_(1).int()
    held = torch.zeros(RANK_BINS + 2, dtype=torch.bool, device=pixels.device)
    held[asked] = True
    close = pixels[true_positions(held.index_select(0, bins))]
    counts = torch.bincount(bins, minlength=RANK_BINS + 2)
    before = counts.masked_fill(held, 0).cumsum(0)[asked]
    smaller, equal = count_below_by_sorting(close, values)
    return torch.stack([before + smaller, equal]).double()


def count_below_by_sorting(
    pixels: Float[Tensor, " N"], values: Float[Tensor, " V"]
) -> Int[Tensor, "2 V"]:
    """Count the pixels that are smaller than, and equal to, each value, by sorting them.

    On a CPU, NumPy sorts float32 many times as fast as torch.
    """
    cpu = pixels.device.type == "cpu"
    ordered = torch.from_numpy(np.sort(pixels.numpy())) if cpu else pixels.sort().values
    values = values.contiguous()
    smaller = torch.searchsorted(ordered, values)
    return torch.stack([smaller, torch.searchsorted(ordered, values, right=True) - smaller])


def true_positions(chosen: Bool[Tensor, " N"]) -> Int[Tensor, " C"]:
    """Return the positions of what was chosen; on a CPU, NumPy takes a tenth of torch's time."""
    if chosen.device.type == "cpu":
        return torch.from_numpy(np.flatnonzero(chosen.numpy()))
    return chosen.nonzero()[:, 0]
