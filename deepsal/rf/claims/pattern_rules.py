"""Decision rules of P4 and P5: patterns of units that are back-projected from a clamped response.

Letters in shapes: U units.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from deepsal.rf.claims.measurements import PatternMeasurements
from deepsal.rf.claims.rules import (
    MAJORITY_SHARE,
    RIVAL_CONTROLS,
    ClaimRow,
    Networks,
    compare_with_rivals,
    conclude_row,
    share_interval,
    threshold_outcome,
)
from deepsal.rf.measures.profile import FloatArray
from deepsal.statistics import MIN_VALUES, Interval, crossed_bootstrap

PATTERN_RIVALS = ("before", "untrained", *(c for c in RIVAL_CONTROLS if c != "bn_only"))
"""Networks whose shares those after training must exceed; a chain has no batch norm."""
Patterns = Mapping[str, Sequence[PatternMeasurements]]
"""Of networks `before` and `after` training and of controls, one per seed in each."""
IDENTITY_NOTE = "identity of the method (positive homogeneity), not a test: 1 follows from it"


def decide_pattern_spread(before: Networks, after: Networks, stage: str) -> Iterator[ClaimRow]:
    """Describe P4: the factor by which a larger clamp value widens the pattern of a unit.

    Yields nothing where a network has no patterns (it is no chain).
    """
    if not all(stage in network.pattern_spread for network in (*before, *after)):
        return
    start, effect = (
        crossed_bootstrap(np.array([network.pattern_spread[stage] for network in group])).interval
        for group in (before, after)
    )
    yield ClaimRow("P4", stage, "spread", effect, "before", start.estimate, note=IDENTITY_NOTE)


def excitation_rows(patterns: Patterns, stage: str) -> Iterator[ClaimRow]:
    """Yield each share of P5 after training, with that before as its reference."""
    for measure, (of_units, statistic, interval) in EXCITATION_MEASURES.items():
        start, end = (
            np.array([of_units(p) for p in patterns[name]]) for name in ("before", "after")
        )
        effect = interval(end)
        yield ClaimRow("P5", stage, measure, effect, "before", _share(start, statistic))


def excitation_difference_rows(patterns: Patterns, stage: str) -> Iterator[ClaimRow]:
    """Yield by how much each share of P5 is higher after training than in each other network.

    `p` is not corrected for the number of tests.
    """
    for measure, (of_units, statistic, _) in EXCITATION_MEASURES.items():
        shares = {name: np.array([of_units(p) for p in of]) for name, of in patterns.items()}
        tuned = shares.pop("after")
        for name, reference in shares.items():
            difference, p = crossed_bootstrap(tuned - reference, statistic)
            row = ClaimRow("P5", stage, f"more {measure} than", difference, name)
            yield row._replace(reference_estimate=_share(reference, statistic), p=p)


def decide_pattern_excitation(
    patterns: Patterns, differences: Sequence[ClaimRow], stage: str
) -> Iterator[ClaimRow]:
    """Decide P5: whether the pattern of a unit excites that unit and inhibits the others.

    Args:
        patterns: of each group of networks.
        differences: of `excitation_difference_rows`, with Holm's p.
        stage: the last one.
    """
    before, after = patterns["before"], patterns["after"]
    for row in excitation_rows(patterns, stage):
        outcome, note = threshold_outcome(row.effect, MAJORITY_SHARE, 1), ""
        own = [of for of in differences if of.measure == f"more {row.measure} than"]
        if outcome == "supported":
            outcome, note = compare_with_rivals([], [], own, PATTERN_RIVALS)
        elif row.effect.count < MIN_VALUES:
            note = f"{MIN_VALUES} units or more are needed"
        elif outcome == "undecided":
            note = "more seeds would decide"
        yield conclude_row(row, outcome, [note], len(after))
        yield from own
    for image in ("blank", "noise", "scrambled", "others"):
        exceeds = partial(_exceeds_reference, image=image)
        start, end = (np.array([exceeds(p) for p in group]) for group in (before, after))
        effect = crossed_bootstrap(end, np.nanmean).interval
        yield ClaimRow("P5", stage, f"over {image}", effect, "before", float(np.mean(start)))


def _prefers_own_pattern(patterns: PatternMeasurements) -> FloatArray:
    """Return 1 for a unit that responds most of all to its own pattern, else 0, (U,).

    Each unit's responses are first standardised over the patterns: a loud channel is not preferred
    for being loud. NaN with fewer than three patterns: of two, all units have the same values.
    """
    responses = patterns.reinjected_responses
    if len(responses) < 3:
        return np.full(len(responses), np.nan)
    spread = responses.std(0)
    standard = (responses - responses.mean(0)) / np.where(spread > 0, spread, np.inf)
    return np.asarray(standard.argmax(1) == patterns.units, np.float64)


def _share_below_blank(patterns: PatternMeasurements) -> FloatArray:
    """Return the share of the other units that respond less to each pattern than to blank, (U,)."""
    less = patterns.reinjected_responses < patterns.reference_responses["blank"]
    own = less[np.arange(len(less)), patterns.units]
    return np.asarray((less.sum(1) - own) / (less.shape[1] - 1), np.float64)


def _exceeds_reference(patterns: PatternMeasurements, image: str) -> FloatArray:
    """Return 1 for a unit that responds more to its own pattern than to an image, else 0, (U,).

    The image "others" stands for the median over the patterns of the other units.
    """
    to_pattern = patterns.reinjected_responses[:, patterns.units]
    own = np.diag(to_pattern)
    if image != "others":
        reference = np.diag(patterns.reference_responses[image][:, patterns.units])
    elif len(own) > 1:
        reference = np.nanmedian(np.where(np.eye(len(own)), np.nan, to_pattern), axis=0)
    else:
        reference = np.full(1, np.nan)
    return np.where(np.isfinite(reference), own > reference, np.nan).astype(np.float64)


def _share(values: FloatArray, statistic: Callable[..., np.float64]) -> float:
    """Return a statistic of the values; NaN where none is finite."""
    return float(statistic(values)) if np.isfinite(values).any() else np.nan


def _median_interval(shares: FloatArray) -> Interval:
    return crossed_bootstrap(shares, np.nanmedian).interval


class ExcitationMeasure(NamedTuple):
    """A measure of P5."""

    of_units: Callable[[PatternMeasurements], FloatArray]
    """Its value for each unit, (U,)."""
    statistic: Callable[..., np.float64]
    """Over units."""
    interval: Callable[[FloatArray], Interval]
    """Of the statistic of (S, U) values of S seeds."""


EXCITATION_MEASURES = {
    "own unit": ExcitationMeasure(_prefers_own_pattern, np.nanmean, share_interval),
    "inhibited": ExcitationMeasure(_share_below_blank, np.nanmedian, _median_interval),
}
"""Measures of P5 by name."""
