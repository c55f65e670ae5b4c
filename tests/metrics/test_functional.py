import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr, rankdata
from torch import Tensor

from deepsal.metrics.functional import (
    auc,
    cc,
    count_below,
    count_below_by_sorting,
    emd,
    information_gain,
    kl,
    nss,
    sauc,
    sim,
    true_positions,
)
from deepsal.metrics.mit_benchmark import sim_stretched

SHAPE = (3, 12, 17)


def density(seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(SHAPE, generator=generator, dtype=torch.float64)
    return logits.flatten(1).softmax(1).view(SHAPE)


def fixations(seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.poisson(torch.full(SHAPE, 0.1, dtype=torch.float64), generator=generator)


def uniform() -> Tensor:
    return torch.full(SHAPE, 1 / (SHAPE[1] * SHAPE[2]), dtype=torch.float64)


def test_a_perfect_prediction() -> None:
    p = density()
    assert torch.allclose(kl(p.log(), p), torch.zeros(3, dtype=torch.float64), atol=1e-9)
    assert torch.allclose(cc(p.log(), p), torch.ones(3, dtype=torch.float64))
    assert torch.allclose(sim(p.log(), p), torch.ones(3, dtype=torch.float64))


def test_kl_equals_its_formula_and_is_not_symmetric() -> None:
    p, q = density(0), density(1)
    expected = (q * (q / p).log()).sum((1, 2))
    assert torch.allclose(kl(p.log(), q), expected)
    assert not torch.allclose(kl(q.log(), p), expected)


def test_kl_charges_a_pixel_that_was_ruled_out() -> None:
    truth = torch.zeros(1, 2, 2, dtype=torch.float64)
    truth[0, 0, 0] = 1
    ruled_out = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]], dtype=torch.float64)
    assert kl(ruled_out.log(), truth).item() == pytest.approx(-math.log(2.2204e-16), rel=1e-6)


def test_cc_is_pearson_per_image() -> None:
    p, q = density(0), density(1)
    expected = [pearsonr(a.flatten(), b.flatten()).statistic for a, b in zip(p, q, strict=True)]
    assert cc(p.log(), q).tolist() == pytest.approx(expected)


def test_cc_ignores_affine_changes() -> None:
    p = density()
    assert torch.allclose(cc((3 * p + 0.2).log(), p), torch.ones(3, dtype=torch.float64))


def test_nss_is_the_mean_z_score_at_the_fixations() -> None:
    p, f = density(), fixations()
    z = (p - p.mean((1, 2), keepdim=True)) / p.std((1, 2), correction=0, keepdim=True)
    assert torch.allclose(nss(p.log(), f), (z * f).sum((1, 2)) / f.sum((1, 2)))


def test_nss_ignores_affine_changes_and_counts_duplicates() -> None:
    p, f = density(), fixations()
    assert torch.allclose(nss((5 * p + 1).log(), f), nss(p.log(), f))
    assert torch.allclose(nss(p.log(), 2 * f), nss(p.log(), f))
    more = f.clone()
    more[:, 0, 0] += 3
    assert not torch.allclose(nss(p.log(), more), nss(p.log(), f))


def test_auc_equals_the_rank_statistic_with_ties_and_duplicates() -> None:
    p = (density() * 2000).round() + 1  # many ties
    f = fixations()
    for value, m, c in zip(auc(p.log(), f), p, f, strict=True):
        pixels = m.flatten()
        chosen = pixels.repeat_interleave(c.flatten().long())
        ranks = rankdata(torch.cat([chosen, pixels]).numpy())[: len(chosen)]
        area = (ranks.sum() - len(chosen) * (len(chosen) + 1) / 2) / (len(chosen) * len(pixels))
        assert value.item() == pytest.approx(area)


def test_auc_ignores_monotone_changes() -> None:
    p, f = density(), fixations()
    assert torch.equal(auc(p.log(), f), auc(7 * p.log() + 3, f))


def test_a_constant_map_scores_chance_with_a_finite_gradient() -> None:
    log_density = uniform().log().requires_grad_()
    assert torch.equal(auc(log_density, fixations()), torch.full((3,), 0.5, dtype=torch.float64))
    total = (nss(log_density, fixations()) + cc(log_density, density())).sum()
    assert total.item() == 0
    (gradient,) = torch.autograd.grad(total, log_density)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("score", [kl, cc, sim, sim_stretched, nss, auc])
def test_an_image_without_fixations_has_no_score(score: Callable[[Tensor, Tensor], Tensor]) -> None:
    truth, log_density = fixations(), density().log().requires_grad_()
    truth[1] = 0
    values = score(log_density, truth)
    assert values.isnan().tolist() == [False, True, False]
    if values.requires_grad:
        assert values[[0, 2]].sum().isfinite()
        (gradient,) = torch.autograd.grad(values.nansum(), log_density)
        assert gradient[[0, 2]].isfinite().all()


@pytest.mark.parametrize("score", [kl, cc, sim, nss, auc])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_low_precision_is_scored_in_float32(
    score: Callable[[Tensor, Tensor], Tensor], dtype: torch.dtype
) -> None:
    truth = fixations() if score in (nss, auc) else density(1)
    log_density = density().log().to(dtype)
    value = score(log_density, truth.float())
    assert value.dtype == torch.float32
    assert torch.allclose(value.double(), score(log_density.double(), truth), atol=1e-4)


def test_scores_at_the_size_of_real_images_agree_in_float32_and_float64() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 600, 800, generator=generator, dtype=torch.float64) * 2
    p = logits.flatten(1).softmax(1).view_as(logits)
    f = torch.poisson(p * 200, generator=generator)
    for score, truth in ((kl, uniform_like(p)), (cc, f), (nss, f), (auc, f)):
        wide, narrow = score(p.log(), truth), score(p.log().float(), truth.float())
        assert narrow.item() == pytest.approx(wide.item(), abs=1e-4)


def uniform_like(p: Tensor) -> Tensor:
    return torch.full_like(p, 1 / p.numel())


def test_sauc_equals_the_rank_statistic_with_ties_and_duplicates() -> None:
    p, f, o = (density() * 2000).round() + 1, fixations(), fixations(2)
    for value, m, c, d in zip(sauc(p.log(), f, o), p, f, o, strict=True):
        chosen, negatives = (m.flatten().repeat_interleave(x.flatten().long()) for x in (c, d))
        wins = (chosen[:, None] > negatives).double() + (chosen[:, None] == negatives) / 2
        assert value.item() == pytest.approx(wins.mean().item())


def test_a_map_of_where_everybody_looks_gains_nothing_in_sauc() -> None:
    f = fixations()
    assert torch.equal(sauc(density().log(), f, f), torch.full((3,), 0.5, dtype=torch.float64))
    assert sauc(uniform().log(), f, fixations(2)).tolist() == [0.5] * 3


def test_sauc_needs_fixations_here_and_elsewhere() -> None:
    f, o = fixations(), fixations(2)
    f[0], o[2] = 0, 0
    assert sauc(density().log(), f, o).isnan().tolist() == [True, False, True]


def test_a_map_with_a_nan_has_no_area() -> None:
    p = density().log()
    p[1, 3, 3] = math.nan
    assert auc(p, fixations()).isnan().tolist() == [False, True, False]
    assert sauc(p, fixations(), fixations(2)).isnan().tolist() == [False, True, False]


def test_information_gain_is_the_mean_of_log_ratios_over_fixations() -> None:
    p, b, f = density(), density(3), fixations()
    for value, m, c, d in zip(information_gain(p.log(), f, b.log()), p, f, b, strict=True):
        ratios = (m / d).log2().flatten().repeat_interleave(c.flatten().long())
        assert value.item() == pytest.approx(ratios.mean().item())
    assert information_gain(b.log(), f, b.log()).tolist() == [0.0] * 3


def test_information_gain_is_finite_unless_a_fixation_was_ruled_out() -> None:
    p, f = density(), fixations()
    p[0][f[0] == 0] = 0
    f[1] = 0
    row, column = f[2].nonzero()[0].tolist()
    p[2, row, column] = 0
    gained, empty, ruled_out = information_gain(p.log(), f, uniform().log()).tolist()
    assert math.isfinite(gained)
    assert math.isnan(empty)
    assert ruled_out == -math.inf


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_sauc_and_information_gain_in_low_precision(dtype: torch.dtype) -> None:
    low, f, o = density().log().to(dtype), fixations(), fixations(2)
    for value, wide in (
        (sauc(low, f.float(), o.float()), sauc(low.double(), f, o)),
        (
            information_gain(low, f.float(), uniform().log().float()),
            information_gain(low.double(), f, uniform().log()),
        ),
    ):
        assert value.dtype == torch.float32
        assert torch.allclose(value.double(), wide, atol=1e-4)


def test_shuffled_auc_refuses_a_fraction_of_a_fixation() -> None:
    with pytest.raises(ValueError, match="whole counts"):
        sauc(density().log(), fixations(), fixations(2) / 2)


def test_emd_is_the_distance_between_dots_in_cells() -> None:
    maps = torch.zeros(3, 96, 128, dtype=torch.float64)
    maps[0, 5, 5] = maps[1, 70, 5] = maps[2, 40, 100] = 1
    distances = emd(maps.log(), maps.roll(1, 0))
    assert distances.dtype == torch.float64
    assert distances.tolist() == pytest.approx([math.sqrt(10), 2, math.sqrt(10)])


def test_emd_of_constant_empty_and_tied_maps() -> None:
    halves = torch.zeros(1, 32, 64)
    halves[..., :32] = 1 / 1024
    assert emd(torch.zeros(1, 32, 64), halves).item() == pytest.approx(0.5)
    assert emd(halves.log(), halves).item() == 0
    assert emd(halves.log() - 900, halves.flip(2)).item() == pytest.approx(1)
    assert emd(halves.log(), torch.zeros(1, 32, 64)).isnan().all()
    assert emd(halves.log() * torch.nan, halves).isnan().all()
    assert emd(halves.half().log(), halves.half()).dtype == torch.float32


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
