from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from deepsal import statistics
from deepsal.statistics import (
    Interval,
    bootstrap_interval,
    bootstrap_mean_interval,
    crossed_bootstrap,
    exact_share_interval,
    finite_median,
    holm_correction,
    t_interval,
    wilcoxon_test,
)


@pytest.mark.parametrize("statistic", [np.mean, np.median])
def test_the_interval_covers_the_truth_about_as_often_as_it_says(
    statistic: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics, "BOOTSTRAP_RESAMPLES", 300)
    random = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        interval = bootstrap_interval(
            random.normal(3.0, 1.0, 60), statistic=statistic, seed=trial, level=0.9
        )
        hits += interval.low <= 3 <= interval.high
    assert 0.84 <= hits / 200 <= 0.96  # 0.9 ± three standard errors of 200 trials


def test_the_interval_over_seeds_covers_what_differs_between_seeds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(statistics, "BOOTSTRAP_RESAMPLES", 200)
    random = np.random.default_rng(0)
    seeds = np.repeat(np.arange(8), 20)
    nested, flat = 0, 0
    for trial in range(100):
        values = random.normal(size=8)[seeds] + 0.3 * random.normal(size=160)
        interval = bootstrap_interval(values, seeds, np.mean, seed=trial)
        nested += interval.low <= 0 <= interval.high
        alone = bootstrap_interval(values, None, np.mean, seed=trial)
        flat += alone.low <= 0 <= alone.high
    assert nested >= 82  # 0.95 less the narrowness of a bootstrap of eight: about 0.9
    assert flat <= 60  # units alone take the seeds' spread for certainty


def test_seeds_that_agree_give_the_interval_of_the_units() -> None:
    values = np.random.default_rng(0).normal(size=50)
    seeds = np.repeat([0, 1, 2, 3], 50)
    alone = bootstrap_interval(np.tile(values, 4))
    nested = bootstrap_interval(np.tile(values, 4), seeds)
    assert nested.estimate == alone.estimate == np.median(values)
    assert (nested.low, nested.high) == pytest.approx((alone.low, alone.high), abs=0.15)


def test_an_interval_repeats_with_its_seed_and_leaves_the_global_generator() -> None:
    values = np.random.default_rng(0).normal(size=30)
    groups = np.repeat([0, 1], 15)
    state = np.random.get_state(legacy=False)["state"]["key"].copy()
    for by in (None, groups):
        first, second, other = (bootstrap_interval(values, by, np.mean, seed) for seed in (0, 0, 1))
        assert first == second
        assert first != other
    assert np.array_equal(np.random.get_state(legacy=False)["state"]["key"], state)


def test_a_higher_level_gives_a_wider_interval() -> None:
    values = np.random.default_rng(0).normal(size=40)
    for groups in (None, np.repeat([0, 1], 20)):
        wide, narrow = (bootstrap_interval(values, groups, level=level) for level in (0.99, 0.5))
        assert wide.low < narrow.low < narrow.high < wide.high


def test_values_that_are_not_finite_are_counted_out() -> None:
    values = np.random.default_rng(0).normal(size=20)
    holed = np.concatenate([values, [np.nan, np.inf, -np.inf]])
    assert bootstrap_interval(holed) == bootstrap_interval(values)
    assert bootstrap_interval(holed).count == 20


NONE = np.full(3, np.nan)
FEW = np.arange(7.0)
UNEVEN = np.concatenate([np.zeros(9), np.ones(7)])


@pytest.mark.parametrize(
    ("values", "groups", "estimate"),
    [
        (FEW, None, 3.0),
        (np.arange(20.0), np.zeros(20), 9.5),  # one seed says nothing of others
        (np.arange(16.0), UNEVEN, 7.5),  # seven units of the second
        (np.concatenate([np.arange(9.0), NONE]), np.repeat([0, 1], [9, 3]), 4.0),  # a dead seed
    ],
)
def test_too_few_data_give_no_interval(
    values: NDArray[np.float64], groups: NDArray[Any] | None, estimate: float
) -> None:
    interval = bootstrap_interval(values, groups)
    assert interval.estimate == estimate
    assert interval.count == np.isfinite(values).sum()
    assert np.isnan([interval.low, interval.high]).all()


def test_no_data_give_no_estimate() -> None:
    assert np.isnan(bootstrap_interval(NONE)[:3]).all()
    assert bootstrap_interval(NONE).count == 0


def test_the_interval_over_images_is_that_of_the_mean() -> None:
    values = np.random.default_rng(1).normal(2, 1, 400)
    interval = bootstrap_mean_interval(values)
    half = 1.96 * values.std(ddof=1) / np.sqrt(400)
    assert interval.low == pytest.approx(values.mean() - half, abs=0.15 * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.15 * half)
    assert interval.as_mean() == dict(zip(("mean", "low", "high", "count"), interval, strict=True))


def test_images_without_a_score_are_counted_out() -> None:
    interval = bootstrap_mean_interval(np.array([1.0, np.nan, 3.0]))
    assert (interval.estimate, interval.count) == (2.0, 2)
    assert bootstrap_mean_interval(np.array([np.nan])).count == 0


def test_the_interval_over_seeds_is_student_s() -> None:
    values = [1.0, 2.5, 4.0, 3.0]
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert t_interval(values)[:3] == pytest.approx((2.625, low, high))
    assert np.isnan(t_interval([1.0])[1:3]).all()


def test_the_median_is_that_of_finite_values() -> None:
    assert finite_median(np.array([3.0, np.nan, 1.0, np.inf, 8.0])) == 3
    assert np.isnan(finite_median(np.array([np.nan])))


def test_a_change_of_all_units_is_seen_and_noise_is_not() -> None:
    random = np.random.default_rng(0)
    before = random.normal(size=100)
    assert wilcoxon_test(before, before + 0.5 + 0.1 * random.normal(size=100)) < 1e-10
    null = [wilcoxon_test(before, before + random.normal(size=100)) for _ in range(100)]
    assert np.mean(np.array(null) < 0.05) <= 0.11


def test_pairs_that_are_not_finite_or_did_not_change_are_left_out() -> None:
    before = np.arange(10.0)
    after = before + 1 + before / 10
    holed = np.append(before, [np.nan, 1, 5]), np.append(after, [1, np.nan, 5])
    assert wilcoxon_test(*holed) == wilcoxon_test(before, after) == pytest.approx(2 / 2**10)
    assert np.isnan(wilcoxon_test(before, before))
    assert np.isnan(wilcoxon_test(before[:7], after[:7]))


def test_holm_rejects_what_the_step_down_procedure_rejects() -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        p = random.uniform(size=7) ** 4
        rejected = np.zeros(7, bool)
        for step, i in enumerate(p.argsort()):
            if p[i] > 0.05 / (7 - step):
                break
            rejected[i] = True
        assert ((holm_correction(p) <= 0.05) == rejected).all()
        assert (holm_correction(p) >= p).all()


def test_holm_leaves_out_nan_and_stops_at_one() -> None:
    assert holm_correction(np.array([0.02, np.nan, 0.7, 0.6])) == pytest.approx(
        [0.06, np.nan, 1, 1], nan_ok=True
    )
    assert np.isnan(holm_correction(np.array([np.nan]))).all()
    assert len(holm_correction(np.array([]))) == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bootstrap_interval(np.zeros((2, 9))), "values must be one row"),
        (
            lambda: bootstrap_interval(np.zeros(9), np.zeros(8)),
            "groups must give the seed of each of 9",
        ),
        (lambda: bootstrap_interval(np.zeros(9), level=95.0), "level must lie between 0 and 1"),
        (lambda: wilcoxon_test(np.zeros(9), np.zeros(8)), "of the same units"),
        (lambda: holm_correction(np.array([0.1, 1.2])), r"p must lie in \[0, 1\]"),
    ],
)
def test_bad_input_is_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_an_interval_becomes_columns_and_states_the_smallest_effect_that_is_seen() -> None:
    interval = Interval(0.5, -0.98, 2.94, 9)  # 1.96 standard errors of 1 to each side
    columns = {"change": 0.5, "change_low": -0.98, "change_high": 2.94}
    assert interval.as_columns("change") == columns
    assert interval.smallest_seen == pytest.approx(stats.norm.ppf(0.975) + 0.84, abs=0.01)


def test_an_exact_interval_of_a_share_is_that_of_scipy_and_covers_none() -> None:
    for successes, count in ((0, 32), (5, 20), (7, 7)):
        expected = stats.binomtest(successes, count).proportion_ci(method="exact")
        interval = exact_share_interval(float(successes), count)
        assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))
    assert np.isnan(exact_share_interval(0.0, 0).estimate)


def test_crossed_intervals_cover_units_and_seeds() -> None:
    random = np.random.default_rng(0)
    covered = 0
    for trial in range(60):
        values = random.normal(size=(3, 1)) + random.normal(size=(1, 30))
        values = values + random.normal(size=(3, 30))
        interval = crossed_bootstrap(values, np.nanmean, seed=trial).interval
        covered += interval.low <= 0 <= interval.high
    assert covered >= 45  # three seeds: fewer than 95 %


def test_crossed_p_is_small_for_a_shift_and_large_without_one() -> None:
    values = np.random.default_rng(0).normal(size=(3, 40))
    assert crossed_bootstrap(values + 3).p < 1e-4
    assert crossed_bootstrap(values - np.nanmedian(values)).p > 0.5
    assert crossed_bootstrap(np.ones((2, 8)), np.nanmean).p == 2.0**-7
    assert crossed_bootstrap(np.zeros((2, 8)), np.nanmean).p == 1


def test_crossed_leaves_out_what_is_missing() -> None:
    values = np.arange(24.0).reshape(2, 12)
    values[:, 0] = values[0, 1] = np.nan
    crossed = crossed_bootstrap(values).interval
    assert crossed.count == 11
    assert crossed.estimate == np.nanmedian(values)
    few = crossed_bootstrap(values[:, :5])
    assert np.isnan([few.interval.low, few.p]).all()
    assert np.isnan(crossed_bootstrap(values * np.nan).interval.estimate)
    wide = crossed_bootstrap(values, extra_error=9.0).interval
    assert wide.high - wide.low > crossed.high - crossed.low
