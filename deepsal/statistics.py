"""How sure a number over units and seeds is: intervals and tests."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

MIN_VALUES = 8
"""Units below which there is no interval and no test."""

BOOTSTRAP_RESAMPLES = 2000


class Interval(NamedTuple):
    """An estimate, its interval (NaN if too few data) and how many values were finite."""

    estimate: float
    low: float
    high: float
    count: int  # type: ignore[assignment]  # hides tuple.count


def bootstrap_interval(
    values: NDArray[Any],
    groups: NDArray[Any] | None = None,
    statistic: Callable[..., Any] = np.median,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Return a statistic over units with its bootstrap percentile interval.

    For a paired comparison give each unit's difference: units are drawn, and before and after stay
    together. With `groups`, seeds are drawn first and then units within each (two-stage bootstrap,
    Davison & Hinkley 1997, "Bootstrap Methods and their Application", §3.8): the interval then
    speaks of other training runs, not only of other units. With few seeds it is too narrow, as a
    bootstrap of n values has (n − 1)/n of their variance: 2/3 for three seeds.

    Args:
        values: (n,), one per unit; those that are not finite are left out.
        groups: (n,), the training seed of each value; None for one run.
        statistic: of an array (m,); a number. One with an `axis`, such as numpy's, is faster.
        seed: of the resampling (2000 times).
        level: of confidence.

    Returns:
        The statistic of all finite values and its interval; NaN ends where fewer than 8 finite
        values are left (in any seed) or fewer than two seeds given; a NaN estimate without values.

    Raises:
        ValueError: `values` is not one row, `groups` is not as long, or `level` is not in (0, 1).

    >>> bootstrap_interval(np.arange(9.0))
    Interval(estimate=4.0, low=1.0, high=7.0, count=9)
    >>> bootstrap_interval(np.array([1.0, 3.0, np.nan]))
    Interval(estimate=2.0, low=nan, high=nan, count=2)
    """
    _validate(values, groups, level)
    known = np.isfinite(values)
    finite = values[known].astype(np.float64)
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
    runs = [finite[groups[known] == group] for group in np.unique(groups)]
    if len(runs) < 2 or min(map(len, runs)) < MIN_VALUES:
        return Interval(estimate, np.nan, np.nan, count)
    drawn = [statistic(_resample_runs(runs, random)) for _ in range(BOOTSTRAP_RESAMPLES)]
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(estimate, float(low), float(high), count)


def wilcoxon_test(before: NDArray[Any], after: NDArray[Any]) -> float:
    """Return the two-sided p of Wilcoxon's signed-rank test that units did not move.

    Pairs that are not finite are left out, and so are units that did not change (Wilcoxon 1945).

    Args:
        before: (U,).
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
    """Return p-values adjusted for their number: those below α err in at most α of families.

    Step-down: p̃_(i) = max_{j≤i} min(1, (m − j + 1) p_(j)), p_(1) the smallest of m; Holm 1979, "A
    simple sequentially rejective multiple test procedure", Scand. J. Stat. 6:65. NaN stays NaN and
    does not count.

    Raises:
        ValueError: a value outside [0, 1].

    >>> holm_correction(np.array([0.01, 0.04, 0.03, np.nan])).round(4).tolist()
    [0.03, 0.06, 0.06, nan]
    """
    if ((p < 0) | (p > 1)).any():
        raise ValueError(f"p must lie in [0, 1]; it goes from {np.nanmin(p)} to {np.nanmax(p)}")
    adjusted = np.full(p.shape, np.nan)
    known = np.isfinite(p)
    order = p[known].argsort(kind="stable")
    steps = np.arange(len(order), 0, -1) * p[known][order]
    ranked = np.empty(len(order))
    ranked[order] = np.maximum.accumulate(np.minimum(steps, 1))
    adjusted[known] = ranked
    return adjusted


def _resample_runs(
    runs: list[NDArray[np.float64]], random: np.random.Generator
) -> NDArray[np.float64]:
    seeds = random.integers(len(runs), size=len(runs))
    return np.concatenate([random.choice(runs[s], len(runs[s])) for s in seeds])


def _validate(values: NDArray[Any], groups: NDArray[Any] | None, level: float) -> None:
    if values.ndim != 1:
        raise ValueError(f"values must be one row, one per unit; they have shape {values.shape}")
    if groups is not None and groups.shape != values.shape:
        raise ValueError(
            f"groups must give the seed of each of {len(values)} values; it has {groups.shape}"
        )
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, such as 0.95; it is {level}")
