"""Exact ranks of values among pixels, from which areas under ROC curves are computed."""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

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
    """Count the pixels that are smaller than, and equal to, each value, by sorting them.

    On a CPU, NumPy sorts float32 many times as fast as torch.
    """
    cpu = pixels.device.type == "cpu"
    ordered = torch.from_numpy(np.sort(pixels.numpy())) if cpu else pixels.sort().values
    values = values.contiguous()
    smaller = torch.searchsorted(ordered, values)
    return torch.stack([smaller, torch.searchsorted(ordered, values, right=True) - smaller])


def true_positions(mask: Bool[Tensor, " N"]) -> Int[Tensor, " C"]:
    """Return the positions of true entries; on a CPU, NumPy takes a tenth of torch's time."""
    if mask.device.type == "cpu":
        return torch.from_numpy(np.flatnonzero(mask.numpy()))
    return mask.nonzero()[:, 0]
