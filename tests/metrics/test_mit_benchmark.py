import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from deepsal.metrics import functional
from deepsal.metrics.mit_benchmark import (
    auc_borji,
    auc_judd,
    auc_shuffled,
    nss_sample_std,
    sim_stretched,
)

SHAPE = (2, 15, 20)


def maps() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(SHAPE, generator=generator, dtype=torch.float64)
    log_density = logits.flatten(1).log_softmax(1).view(SHAPE)
    fixations = torch.poisson(log_density.exp() * 20, generator=generator)
    others = torch.poisson(torch.full(SHAPE, 0.3, dtype=torch.float64), generator=generator)
    return log_density, fixations, others


def stretched(log_density: Tensor) -> Tensor:
    p = log_density.exp()
    low, high = p.amin((1, 2), keepdim=True), p.amax((1, 2), keepdim=True)
    return (p - low) / (high - low)


def stepped(positives: Tensor, negatives: Tensor) -> float:
    """The benchmark's loop over thresholds, one draw."""
    points = [(0.0, 0.0)]
    for i in range(10, -1, -1):
        rates = [(x >= i * 0.1).double().mean().item() for x in (negatives, positives)]
        points.append((rates[0], rates[1]))
    points.append((1.0, 1.0))
    pairs = pairwise(points)
    return sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairs)


def test_nss_has_the_samples_deviation_and_merges_duplicates() -> None:
    log_density, fixations, _ = maps()
    ours = nss_sample_std(log_density, fixations)
    n = SHAPE[1] * SHAPE[2]
    binary = (fixations > 0).double()
    expected = functional.nss(log_density, binary) * math.sqrt((n - 1) / n)
    assert torch.allclose(ours, expected)
    assert torch.equal(ours, nss_sample_std(log_density, 3 * fixations))


def test_sim_of_maps_that_are_stretched_first() -> None:
    log_density, _, others = maps()
    truth = others + 1
    one, other = stretched(log_density), stretched(truth.log())
    one, other = (x / x.sum((1, 2), keepdim=True) for x in (one, other))
    expected = torch.minimum(one, other).sum((1, 2))
    assert torch.allclose(sim_stretched(log_density, truth / truth.sum()), expected)


def test_judd_is_the_loop_over_thresholds() -> None:
    log_density, fixations, _ = maps()
    for value, p, f in zip(
        auc_judd(log_density, fixations, jitter=0.0), stretched(log_density), fixations, strict=True
    ):
        values = p[f > 0].sort(descending=True).values
        points = [(0.0, 0.0)]
        for i, threshold in enumerate(values.tolist(), 1):
            above = (p >= threshold - 1e-15).sum().item()
            points.append(((above - i) / (p.numel() - len(values)), i / len(values)))
        points.append((1.0, 1.0))
        pairs = pairwise(points)
        area = sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairs)
        assert value.item() == pytest.approx(area, abs=1e-12)


def test_borji_of_one_split_is_the_loop_over_steps() -> None:
    log_density, fixations, _ = maps()
    generator = torch.Generator().manual_seed(5)
    for value, p, f in zip(
        auc_borji(log_density, fixations, splits=1, seed=5),
        stretched(log_density),
        fixations,
        strict=True,
    ):
        positives = p[f > 0]
        drawn = torch.randint(p.numel(), (1, len(positives)), generator=generator)[0]
        assert value.item() == pytest.approx(stepped(positives, p.flatten()[drawn]), abs=1e-12)


def test_shuffled_against_the_whole_pool_is_the_loop_over_steps() -> None:
    log_density, fixations, _ = maps()
    others = torch.zeros(SHAPE, dtype=torch.float64)
    others[:, :2, :3] = 1  # fewer than the fixations, so that each draw takes all
    for value, p, f in zip(
        auc_shuffled(log_density, fixations, others),
        stretched(log_density),
        fixations,
        strict=True,
    ):
        assert (f > 0).sum() > 6
        expected = stepped(p[f > 0], p[:2, :3].flatten())
        assert value.item() == pytest.approx(expected, abs=1e-12)


def test_coarse_steps_cost_a_peaked_map_and_fine_ones_do_not() -> None:
    at = torch.linspace(-1, 1, 60, dtype=torch.float64)
    log_density = -(at[:, None].square() + at.square())[None] * 20
    log_density = log_density.flatten(1).log_softmax(1).view_as(log_density)
    generator = torch.Generator().manual_seed(0)
    fixations = torch.poisson(log_density.exp() * 50, generator=generator)
    exact = functional.auc(log_density, fixations).item()
    assert auc_judd(log_density, fixations).item() == pytest.approx(exact, abs=0.01)
    assert auc_borji(log_density, fixations, step=0.001).item() == pytest.approx(exact, abs=0.01)
    assert auc_borji(log_density, fixations).item() < exact - 0.01


@pytest.mark.parametrize("score", [nss_sample_std, auc_judd, auc_borji])
def test_constant_and_empty_maps(score: Callable[[Tensor, Tensor], Tensor]) -> None:
    log_density, fixations, _ = maps()
    log_density[0] = -math.log(SHAPE[1] * SHAPE[2])
    fixations[1] = 0
    constant, empty = score(log_density, fixations).tolist()
    assert constant == pytest.approx(0 if score is nss_sample_std else 0.5, abs=0.2)
    assert math.isnan(empty)
    assert sim_stretched(log_density, log_density.exp())[0].item() == pytest.approx(1)


def test_shuffled_of_constant_and_empty_maps() -> None:
    log_density, fixations, others = maps()
    log_density[0] = 0
    others[1] = 0
    constant, empty = auc_shuffled(log_density, fixations, others).tolist()
    assert constant == 0.5
    assert math.isnan(empty)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_double_stays_double_and_half_is_widened(dtype: torch.dtype) -> None:
    log_density, fixations, others = (m.to(dtype) for m in maps())
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    assert nss_sample_std(log_density, fixations).dtype == wide
    assert auc_judd(log_density, fixations).dtype == wide
    assert auc_borji(log_density, fixations).dtype == wide
    assert auc_shuffled(log_density, fixations, others).dtype == wide
    assert sim_stretched(log_density, others + 1).dtype == wide
