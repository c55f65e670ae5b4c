"""Decision rules: a number with its interval against a threshold, and claims P4 and P5."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from deepsal.rf.claims.measurements import NetworkMeasurements
from deepsal.rf.measures.profile import FloatArray
from deepsal.statistics import Interval, bootstrap_interval

WIDTH_TOLERANCE = 1e-3
"""Relative change of a width below which it is the same."""
MAJORITY_SHARE = 0.5
"""Share of units that a claim about "all" must at least hold for."""


class ClaimRow(NamedTuple):
    """One number with its interval, what it is judged against, and what follows.

    `reference` names what `reference_estimate` is of: "untrained" beside a cosine is that of two
    networks that learnt nothing. The last is "" where a row informs and decides nothing.
    """

    claim: str
    stage: str
    measure: str
    effect: Interval
    reference: str = ""
    reference_estimate: float = float("nan")
    p: float = float("nan")
    outcome: str = ""


def interval_over_units(
    runs: Sequence[FloatArray], statistic: Callable[..., Any] = np.median, seed: int = 0
) -> Interval:
    """Return a statistic over units, and over seeds where there are several runs."""
    groups = np.repeat(np.arange(len(runs)), [len(run) for run in runs])
    values = np.concatenate([*runs])
    return bootstrap_interval(values, groups if len(runs) > 1 else None, statistic, seed)


def threshold_outcome(effect: Interval, bar: float, sign: int) -> str:
    """Say on which side of a bar an interval lies.

    Args:
        effect: the interval; without ends nothing is decided.
        bar: the value it is held against.
        sign: 1 supports what lies above, −1 what lies below.

    >>> threshold_outcome(Interval(0.8, 0.6, 0.9, 20), bar=0.5, sign=1)
    'supported'
    """
    ends = sorted((sign * effect.low, sign * effect.high))
    if not np.isfinite(ends).all():
        return "undecided"
    if ends[0] >= sign * bar:
        return "supported"
    return "not supported" if ends[1] < sign * bar else "undecided"


MeasurementsPerSeed = Sequence[NetworkMeasurements]
UnitStatistic = Callable[[NetworkMeasurements, Sequence[int]], FloatArray]


def decide_pattern_spread(
    befores: MeasurementsPerSeed, afters: MeasurementsPerSeed, stage: str
) -> Iterator[ClaimRow]:
    """Yield P4: by how much a larger value at the centre widens a unit's pattern."""
    now, then = (interval_over_units([p.spread for p in group]) for group in (afters, befores))  # type: ignore[misc]
    wider, same = now.low > 1 + WIDTH_TOLERANCE, now.high <= 1 + WIDTH_TOLERANCE
    outcome = "supported" if wider else "not supported" if same else "undecided"
    yield ClaimRow("P4", stage, "spread", now, "before", then.estimate, outcome=outcome)


def decide_pattern_excitation(
    befores: MeasurementsPerSeed, afters: MeasurementsPerSeed, stage: str
) -> Iterator[ClaimRow]:
    """Yield P5: whether a unit's pattern excites that unit, and inhibits the others.

    The portraits are of networks that have patterns (`Portrait.reinjected`).
    """
    for name, each, statistic in (
        ("own unit", _prefers_own_pattern, np.mean),
        ("inhibited", _share_below_blank, np.median),
    ):
        now, then = (_per_seed(each, group, stage) for group in (afters, befores))
        effect = interval_over_units(now, statistic)
        outcome = threshold_outcome(effect, MAJORITY_SHARE, 1)
        difference = interval_over_units([a - b for a, b in zip(now, then, strict=True)], statistic)
        if outcome == "supported" and not difference.low > 0:
            outcome = "undecided"
        yield ClaimRow(
            "P5",
            stage,
            name,
            effect,
            "before",
            interval_over_units(then, statistic).estimate,
            outcome=outcome,
        )
    for control in ("blank", "noise", "scrambled", "others"):
        now, then = (
            _per_seed(_exceeds_reference(control), group, stage) for group in (afters, befores)
        )
        yield ClaimRow(
            "P5",
            stage,
            f"over {control}",
            interval_over_units(now, np.mean),
            "before",
            float(np.mean(then)),
        )


def _per_seed(each: UnitStatistic, portraits: MeasurementsPerSeed, stage: str) -> list[FloatArray]:
    return [each(portrait, portrait.units[stage]) for portrait in portraits]


def _prefers_own_pattern(portrait: NetworkMeasurements, units: Sequence[int]) -> FloatArray:
    """Tell which units answer to their own pattern more than all others do: 1 or 0, (U,)."""
    assert portrait.reinjected is not None
    return np.asarray(portrait.reinjected.argmax(1) == np.array(units), dtype=np.float64)


def _share_below_blank(portrait: NetworkMeasurements, units: Sequence[int]) -> FloatArray:
    """Return which share of the other units answers less to each pattern than to a blank, (U,)."""
    assert portrait.reinjected is not None
    assert portrait.control is not None
    less = portrait.reinjected < portrait.control["blank"]
    own = less[np.arange(len(units)), units]
    return np.asarray((less.sum(1) - own) / (less.shape[1] - 1), dtype=np.float64)


def _exceeds_reference(control: str) -> UnitStatistic:
    """Tell which units answer more to their own pattern than to a control: 1 or 0, (U,)."""

    def each(portrait: NetworkMeasurements, units: Sequence[int]) -> FloatArray:
        assert portrait.reinjected is not None
        assert portrait.control is not None
        to_pattern = portrait.reinjected[:, units]
        own = np.diag(to_pattern)
        if control == "others":
            other = np.where(np.eye(len(units), dtype=bool), np.nan, to_pattern)
            against = np.nanmedian(other, axis=0) if len(units) > 1 else np.full(1, np.nan)
        else:
            against = np.diag(portrait.control[control][:, units])
        return np.where(np.isfinite(against), own > against, np.nan).astype(np.float64)

    return each
