import math

import numpy as np
import pytest
import torch

from deepsal.metrics.roc_ranks import count_below, count_below_by_sorting, true_positions


@pytest.mark.parametrize("digits", [0, 1, 12])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_counts_below_are_exact_with_ties_outliers_and_excluded_pixels(
    digits: int, dtype: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(digits)
    pixels = (torch.randn(5000, generator=generator, dtype=dtype) * 3).round(decimals=digits)
    pixels[:7] = torch.tensor([-1e30, -math.inf, -math.inf, 1e30, 0, -0.0, math.inf], dtype=dtype)
    values = pixels[::50]
    smaller, equal = count_below(pixels, values)
    assert smaller.tolist() == [(pixels < value).sum().item() for value in values]
    assert equal.tolist() == [(pixels == value).sum().item() for value in values]


def test_ranks_count_what_is_smaller_and_what_is_equal() -> None:
    pixels = torch.tensor([2.0, -math.inf, 1.0, 2.0])
    assert count_below_by_sorting(pixels, torch.tensor([2.0, 1.5, -math.inf])).tolist() == [
        [2, 2, 0],
        [2, 0, 1],
    ]


def test_positions_are_those_of_the_true_values() -> None:
    chosen = torch.from_numpy(np.random.default_rng(0).random(50) < 0.3)
    assert true_positions(chosen).tolist() == chosen.nonzero()[:, 0].tolist()
