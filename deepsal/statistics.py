"""Intervals over units, images and seeds, paired tests, and Holm's correction."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

MIN_VALUES = 8
"""Number of units below which `bootstrap_interval` and `wilcoxon_test` return NaN."""
BOOTSTRAP_RESAMPLES = 2000
DETECTED_ERRORS = 2.8
"""Effects of so many standard errors are found in 80 % of studies, at p < .05."""
CROSSED_RESAMPLES = 1000


class Interval(NamedTuple):
    """An estimate, its interval and the number of finite values; NaN ends with too few data."""

    estimate: float
    low: float
    high: float
    count: int  # type: ignore[assignment]  # hides tuple.count

    def as_mean(self) -> dict[str, float]:
        """Return the members under the keys of `scores.json`: mean, low, high, count."""
        return {"mean": self.estimate, "low": self.low, "high": self.high, "count": self.count}

    def as_columns(self, name: str) -> dict[str, float]:
        """Return the estimate and the ends as columns of a table: name, name_low, name_high."""
        return {name: self.estimate, f"{name}_low": self.low, f"{name}_high": self.high}

    @property
    def smallest_seen(self) -> float:
        """Effect that would be found in 80 % of such studies, of a 95 % interval."""
        return DETECTED_ERRORS * (self.high - self.low) / 3.92


def bootstrap_interval(
    values: NDArray[Any],
    groups: NDArray[Any] | None = None,
    statistic: Callable[..., Any] = np.median,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Return a statistic over units with its bootstrap percentile interval.

    For a paired comparison, pass the difference of each unit: the pairs then stay together.
    With `groups`, seeds are drawn first and units within each seed second (two-stage bootstrap,
    Davison & Hinkley 1997, "Bootstrap Methods and their Application", §3.8). The interval then
    covers other training runs, not only other units. It is too narrow for few seeds: a bootstrap
    of n values has (n − 1)/n of their variance, that is 2/3 for three seeds.

    Args:
        values: (n,), one per unit; values that are not finite are left out.
        groups: (n,), the training seed of each value; None for one run.
        statistic: function of an array (m,) that returns a number; one with an `axis`, such as
            numpy's, is faster.
        seed: seed of the 2000 resamples.
        level: confidence level.

    Returns:
        The statistic of all finite values and its interval. The ends are NaN where fewer than 8
        finite values are left (in any seed) or there is one seed only. The estimate is NaN without
        values.

    Raises:
        ValueError: `values` is not one row, `groups` has another length, or `level` is not in
            (0, 1).

    >>> bootstrap_interval(np.arange(9.0))
    Interval(estimate=4.0, low=1.0, high=7.0, count=9)
    >>> bootstrap_interval(np.array([1.0, 3.0, np.nan]))
    Interval(estimate=2.0, low=nan, high=nan, count=2)
    """
    _validate(values, groups, level)
    usable = np.isfinite(values)
    finite = values[usable].astype(np.float64)
    count = len(finite)
    estimate = float(statistic(finite)) if count else np.nan
    random = np.random.default_rng(seed)
    if groups is None:
        if count < MIN_VALUES:
            return Interval(estimate, np.nan, np.nan, count)
        ends = stats.bootstrap(
            (finite,),
            statistic,
            n_resamples=BOOTSTRAP_RESAMPLES,
            confidence_level=level,
            method="percentile",
            rng=random,
        ).confidence_interval
        return Interval(estimate, float(ends.low), float(ends.high), count)
    per_seed = [finite[groups[usable] == group] for group in np.unique(groups)]
    if len(per_seed) < 2 or min(map(len, per_seed)) < MIN_VALUES:
        return Interval(estimate, np.nan, np.nan, count)
    drawn = [statistic(_resample_seeds(per_seed, random)) for _ in range(BOOTSTRAP_RESAMPLES)]
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(estimate, float(low), float(high), count)


class CrossedEstimate(NamedTuple):
    """An interval over units and seeds, and the two-sided p of a value of 0."""

    interval: Interval
    p: float


def crossed_bootstrap(
    values: NDArray[Any],
    statistic: Callable[..., Any] | None = None,
    seed: int = 0,
    extra_error: float = 0.0,
) -> CrossedEstimate:
    """Return a statistic over seeds and units with its bootstrap interval, both drawn anew.

    The same units recur in every seed, so seeds (rows) and units (columns) are drawn independently
    of each other (Owen 2007, "The pigeonhole bootstrap", Ann. Appl. Stat. 1:386). A bootstrap of
    S seeds has (S − 1)/S of their variance: the ends are moved away from the estimate by
    √(S/(S − 1)). With one seed only units are drawn: the interval is about that one network.

    Args:
        values: (S, U), a row per seed and a column per unit; NaN is left out. For a paired
            comparison pass the differences.
        statistic: function with an `axis` that ignores NaN; None for the median.
        seed: of the 1000 resamples.
        extra_error: standard error of the statistic from another source (images); its variance
            is added.

    Returns:
        Estimate, percentile interval, number of units with a value in any seed; and p of the
        estimate over the resamples' standard deviation by the normal distribution, but at least
        that of a sign test in which all units agree, 2 / 2ᵁ. Ends and p are NaN for fewer than 8
        units.

    >>> rows = np.arange(12.0) + np.array([[0.0], [1.0]])
    >>> crossed_bootstrap(rows).interval.count, crossed_bootstrap(rows + 99).p < 0.001
    (12, True)
    """
    if values.ndim != 2:
        raise ValueError(f"values must be (seeds, units); they have shape {values.shape}")
    statistic = statistic or _median_of_finite
    finite = values[:, np.isfinite(values).any(0)].astype(np.float64)
    seeds, units = finite.shape
    estimate = float(statistic(finite.ravel(), axis=0)) if units else np.nan
    if units < MIN_VALUES:
        return CrossedEstimate(Interval(estimate, np.nan, np.nan, units), np.nan)
    random = np.random.default_rng(seed)
    rows = random.integers(seeds, size=(CROSSED_RESAMPLES, seeds, 1))
    columns = random.integers(units, size=(CROSSED_RESAMPLES, 1, units))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a resample without any value is NaN
        drawn = statistic(finite[rows, columns].reshape(CROSSED_RESAMPLES, -1), axis=1)
    widened = np.sqrt(seeds / (seeds - 1)) if seeds > 1 else 1.0
    drawn = estimate + widened * (drawn - estimate)
    drawn = drawn + extra_error * random.standard_normal(len(drawn))
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    deviation = float(np.nanstd(drawn))
    p = 1.0 if estimate == 0 else 0.0
    if deviation > 0:
        p = 2 * float(stats.norm.sf(abs(estimate) / deviation))
    p = max(p, 2.0 ** (1 - units))
    return CrossedEstimate(Interval(estimate, float(low), float(high), units), p)


def exact_share_interval(successes: float, count: int) -> Interval:
    """Return a share with its exact 95 % interval (Clopper & Pearson 1934, Biometrika 26:404).

    Args:
        successes: number of successes; a fraction where it is a mean over seeds.
        count: number of units.

    >>> [round(value, 3) for value in exact_share_interval(0.0, 32)]
    [0.0, 0.0, 0.109, 32]
    """
    if not count:
        return Interval(np.nan, np.nan, np.nan, 0)
    low = stats.beta.ppf(0.025, successes, count - successes + 1) if successes > 0 else 0.0
    high = stats.beta.ppf(0.975, successes + 1, count - successes) if successes < count else 1.0
    return Interval(successes / count, float(low), float(high), count)


def bootstrap_mean_interval(values: NDArray[np.float64], seed: int = 0) -> Interval:
    """Return the mean over images with its 95 % bootstrap percentile interval.

    Unlike `bootstrap_interval`, it has ends for any number of values from two on.

    Args:
        values: (n,), one score per image; values that are not finite are left out.
        seed: seed of the 2000 resamples.

    Returns:
        The mean of all finite values, NaN without one, and its interval, NaN without two.

    >>> bootstrap_mean_interval(np.ones(10))
    Interval(estimate=1.0, low=1.0, high=1.0, count=10)
    """
    finite = values[np.isfinite(values)]
    count = len(finite)
    if count < 2:
        return Interval(float(finite.mean()) if count else np.nan, np.nan, np.nan, count)
    drawn = np.random.default_rng(seed).integers(count, size=(BOOTSTRAP_RESAMPLES, count))
    low, high = np.percentile(finite[drawn].mean(1), (2.5, 97.5))
    return Interval(float(finite.mean()), float(low), float(high), count)


def t_interval(values: Sequence[float]) -> Interval:
    """Return the mean over seeds with its 95 % interval by Student's t; NaN ends for one seed.

    mean ± t(.975, n − 1) · s / √n, s the standard deviation of the n values.

    >>> [round(value, 2) for value in t_interval([1.0, 2.0, 3.0])]
    [2.0, -0.48, 4.48, 3]
    """
    n, mean = len(values), float(np.mean(values))
    if n < 2:
        return Interval(mean, np.nan, np.nan, n)
    half = float(stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n))
    return Interval(mean, mean - half, mean + half, n)


def finite_median(values: NDArray[np.float64]) -> float:
    """Return the median of the finite values, (n,); NaN without any.

    >>> finite_median(np.array([1.0, np.nan, 4.0]))
    2.5
    """
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else float("nan")


def wilcoxon_test(before: NDArray[Any], after: NDArray[Any]) -> float:
    """Return the two-sided p of Wilcoxon's signed-rank test of no change (Wilcoxon 1945).

    Pairs that are not finite and units that did not change are left out.

    Args:
        before: (U,), one value per unit.
        after: (U,), the same units in the same order.

    Returns:
        p; NaN where fewer than 8 pairs are left.

    Raises:
        ValueError: `before` and `after` are not two rows of one length.

    >>> before = np.arange(10.0)
    >>> wilcoxon_test(before, before + 1 + before / 10)  # all ten rise: 2/2¹⁰
    0.001953125
    """
    if before.ndim != 1 or before.shape != after.shape:
        raise ValueError(
            f"before {before.shape} and after {after.shape} must be one row each, of the same units"
        )
    both = np.isfinite(before) & np.isfinite(after)
    change = after[both].astype(np.float64) - before[both]
    change = change[change != 0]
    return float(stats.wilcoxon(change).pvalue) if len(change) >= MIN_VALUES else np.nan


def holm_correction(p: NDArray[Any]) -> NDArray[np.float64]:
    """Return p-values adjusted for their number by Holm's step-down method.

    p̃_(i) = max_{j≤i} min(1, (m − j + 1) p_(j)), p_(1) the smallest of m. Calling those below α
    significant errs in at most α of all families of tests. Holm 1979, "A simple sequentially
    rejective multiple test procedure", Scand. J. Stat. 6:65.

    Args:
        p: (m,), p-values in [0, 1]; NaN stays NaN and does not count.

    Raises:
        ValueError: a value outside [0, 1].

    >>> holm_correction(np.array([0.01, 0.04, 0.03, np.nan])).round(4).tolist()
    [0.03, 0.06, 0.06, nan]
    """
    if ((p < 0) | (p > 1)).any():
        raise ValueError(f"p must lie in [0, 1]; it goes from {np.nanmin(p)} to {np.nanmax(p)}")
    adjusted = np.full(p.shape, np.nan)
    tests = np.flatnonzero(np.isfinite(p))
    order = tests[p[tests].argsort(kind="stable")]
    scaled = np.arange(len(order), 0, -1) * p[order]
    adjusted[order] = np.maximum.accumulate(np.minimum(scaled, 1))
    return adjusted


def _median_of_finite(values: NDArray[Any], axis: int) -> NDArray[np.float64]:
    """Return the median of the finite values along an axis; numpy's takes ten times as long."""
    ordered = np.sort(np.where(np.isfinite(values), values, np.inf), axis)
    count = np.isfinite(ordered).sum(axis, keepdims=True)
    middle = [np.maximum(of, 0) for of in ((count - 1) // 2, count // 2)]
    below, above = (
        np.take_along_axis(ordered, np.minimum(at, values.shape[axis] - 1), axis) for at in middle
    )
    with np.errstate(invalid="ignore"):
        median = np.where(count > 0, (below + above) / 2, np.nan)
    return np.asarray(median.squeeze(axis))


def _resample_seeds(
    per_seed: list[NDArray[np.float64]], random: np.random.Generator
) -> NDArray[np.float64]:
    seeds = random.integers(len(per_seed), size=len(per_seed))
    return np.concatenate([random.choice(per_seed[s], len(per_seed[s])) for s in seeds])


def _validate(values: NDArray[Any], groups: NDArray[Any] | None, level: float) -> None:
    if values.ndim != 1:
        raise ValueError(f"values must be one row, one per unit; they have shape {values.shape}")
    if groups is not None and groups.shape != values.shape:
        raise ValueError(
            f"groups must give the seed of each of {len(values)} values; it has {groups.shape}"
        )
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, such as 0.95; it is {level}")
