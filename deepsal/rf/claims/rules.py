"""Decision rules of the claims P1 to P5 of He & Pugeault 2018: statements, thresholds, outcomes.

`decide_claims` states the rules and applies them. The rules take measurements of the networks
`before` and `after` training, one per seed, and yield rows of the verdict.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from deepsal.rf.claims.measurements import NetworkMeasurements, PatternMeasurements
from deepsal.rf.measures.profile import FloatArray
from deepsal.rf.measures.shape import unit_redundancy
from deepsal.rf.measures.similarity import (
    field_cosine,
    field_gain,
    field_shift,
    linear_cka,
    weight_displacement,
)
from deepsal.statistics import Interval, bootstrap_interval, wilcoxon_test

CLAIM_STATEMENTS = {
    "P1": "The first three stages hardly change.",
    "P2": "The last two stages change fundamentally.",
    "P3": "Their units are all variations of centre-surround.",
    "P4": "A larger clamp value spreads the pattern.",
    "P5": "A unit's pattern excites that unit most.",
}
UNCHANGED_COSINE, CHANGED_COSINE = 0.9, 0.5
"""Median cosine of two fields from which on they hardly changed, and up to which they changed
fundamentally."""
MAJORITY_SHARE = 0.5
"""Least share of units for which a claim about "all" units must hold."""
WIDTH_TOLERANCE = 1e-3
"""Relative change of a width below which the width is the same."""

MeasurementsPerSeed = Sequence[NetworkMeasurements]


class ClaimRow(NamedTuple):
    """One row of the verdict: an effect with its interval, its reference and the outcome.

    `reference` names the network that `reference_estimate` belongs to: "before", or a control;
    "untrained" is the cosine of two networks that learnt nothing. `p` is NaN without a test.
    `outcome` is "" in a row that informs and decides nothing.
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
    values_per_seed: Sequence[FloatArray], statistic: Callable[..., Any] = np.median
) -> Interval:
    """Return the `bootstrap_interval` over units, and over seeds if there are several."""
    lengths = [len(values) for values in values_per_seed]
    groups = np.repeat(np.arange(len(lengths)), lengths) if len(lengths) > 1 else None
    return bootstrap_interval(np.concatenate(values_per_seed), groups, statistic)


def threshold_outcome(effect: Interval, threshold: float, sign: int) -> str:
    """Return the outcome for an interval above, below or across a threshold.

    Args:
        effect: interval; "undecided" if it has no ends.
        threshold: value to compare it with.
        sign: 1 if values above support the claim, −1 if values below do.

    >>> threshold_outcome(Interval(0.8, 0.6, 0.9, 20), threshold=0.5, sign=1)
    'supported'
    """
    ends = sorted((sign * effect.low, sign * effect.high))
    if not np.isfinite(ends).all():
        return "undecided"
    if ends[0] >= sign * threshold:
        return "supported"
    return "not supported" if ends[1] < sign * threshold else "undecided"


def decide_change(
    before: MeasurementsPerSeed,
    after: MeasurementsPerSeed,
    controls: Mapping[str, NetworkMeasurements],
    claim: str,
    stages: Sequence[str],
) -> Iterator[ClaimRow]:
    """Decide P1 (fields hardly change) or P2 (fields change fundamentally) for each stage."""
    threshold, sign = (UNCHANGED_COSINE, 1) if claim == "P1" else (CHANGED_COSINE, -1)
    untrained = [control for name, control in controls.items() if name.startswith("untrained/")][:2]
    pairs = [*zip(before, after, strict=True)]
    for stage in stages:
        fields = [(b.field[stage], a.field[stage]) for b, a in pairs]
        effect = interval_over_units([field_cosine(*pair) for pair in fields])
        reference = ("", float("nan"))
        if len(untrained) == 2:
            unrelated = field_cosine(*(control.field[stage] for control in untrained))
            reference = ("untrained", float(np.nanmedian(unrelated)))
        outcome = threshold_outcome(effect, threshold, sign)
        per_stage = {
            "gain": interval_over_units([field_gain(*pair) for pair in fields]),
            "shift": interval_over_units([np.hypot(*field_shift(*pair).T) for pair in fields]),
            "cka": _median_over_seeds(
                linear_cka(b.activations[stage], a.activations[stage]) for b, a in pairs
            ),
            "displacement": _median_over_seeds(
                weight_displacement(b.weights, a.weights, [stage])[stage] for b, a in pairs
            ),
        }
        yield ClaimRow(claim, stage, "cosine", effect, *reference, outcome=outcome)
        yield from (ClaimRow(claim, stage, measure, of) for measure, of in per_stage.items())


def decide_centre_surround(
    before: MeasurementsPerSeed,
    after: MeasurementsPerSeed,
    controls: Mapping[str, NetworkMeasurements],
    stages: Sequence[str],
) -> Iterator[ClaimRow]:
    """Decide P3 for each stage: the share of centre-surround units, and its change."""
    references = {"before": before} | {name: [m] * len(after) for name, m in controls.items()}
    for stage in stages:
        called = _measure_per_seed(after, stage, "centre_surround")
        share = interval_over_units(called, np.mean)
        shares, differences = {}, []
        for name, group in references.items():
            other = _measure_per_seed(group, stage, "centre_surround")
            shares[name] = float(np.nanmean(np.concatenate(other)))
            differences.append(_interval_of_difference(called, other, np.mean))
        highest = max(shares, key=lambda name: np.nan_to_num(shares[name], nan=-1.0))
        outcome = threshold_outcome(share, MAJORITY_SHARE, 1)
        if outcome == "supported" and not all(d.low > 0 for d in differences):
            no_higher = any(d.high <= 0 for d in differences)
            outcome = "not supported" if no_higher else "undecided"
        yield ClaimRow(
            "P3", stage, "centre-surround", share, highest, shares[highest], outcome=outcome
        )
        for measure in ("csi", "ssi", "k"):
            start, end = (_measure_per_seed(group, stage, measure) for group in (before, after))
            p = wilcoxon_test(np.mean(start, 0), np.mean(end, 0))
            reference = interval_over_units(start).estimate
            effect = interval_over_units(end)
            yield ClaimRow("P3", stage, measure, effect, "before", reference, p)
        start_redundancy, redundancy = (
            _median_over_seeds(unit_redundancy(network.field[stage]) for network in group)
            for group in (before, after)
        )
        yield ClaimRow("P3", stage, "redundancy", redundancy, "before", start_redundancy.estimate)


def decide_pattern_spread(
    before: Sequence[PatternMeasurements], after: Sequence[PatternMeasurements], stage: str
) -> Iterator[ClaimRow]:
    """Decide P4: the factor by which a larger clamp value widens the pattern of a unit."""
    start, effect = (interval_over_units([p.spread for p in group]) for group in (before, after))
    wider, same = effect.low > 1 + WIDTH_TOLERANCE, effect.high <= 1 + WIDTH_TOLERANCE
    outcome = "supported" if wider else "not supported" if same else "undecided"
    yield ClaimRow("P4", stage, "spread", effect, "before", start.estimate, outcome=outcome)


def decide_pattern_excitation(
    before: Sequence[PatternMeasurements], after: Sequence[PatternMeasurements], stage: str
) -> Iterator[ClaimRow]:
    """Decide P5: whether the pattern of a unit excites that unit and inhibits the others."""
    for measure, of_units, statistic in (
        ("own unit", _prefers_own_pattern, np.mean),
        ("inhibited", _share_below_blank, np.median),
    ):
        start, end = ([of_units(p) for p in group] for group in (before, after))
        effect, reference = (interval_over_units(values, statistic) for values in (end, start))
        outcome = threshold_outcome(effect, MAJORITY_SHARE, 1)
        if outcome == "supported" and not _interval_of_difference(end, start, statistic).low > 0:
            outcome = "undecided"
        yield ClaimRow("P5", stage, measure, effect, "before", reference.estimate, outcome=outcome)
    for image in ("blank", "noise", "scrambled", "others"):
        exceeds = partial(_exceeds_reference, image=image)
        start, end = ([exceeds(p) for p in group] for group in (before, after))
        effect = interval_over_units(end, np.mean)
        yield ClaimRow("P5", stage, f"over {image}", effect, "before", float(np.mean(start)))


def _measure_per_seed(group: MeasurementsPerSeed, stage: str, measure: str) -> list[FloatArray]:
    return [network.measures[stage][measure] for network in group]


def _interval_of_difference(
    after: Sequence[FloatArray], before: Sequence[FloatArray], statistic: Callable[..., Any]
) -> Interval:
    return interval_over_units([a - b for a, b in zip(after, before, strict=True)], statistic)


def _median_over_seeds(values: Iterable[float]) -> Interval:
    """Return the median of one value per seed; seeds are too few for an interval."""
    return bootstrap_interval(np.array([*values]))


def _prefers_own_pattern(patterns: PatternMeasurements) -> FloatArray:
    """Return 1 for a unit that responds most of all to its own pattern, else 0, (U,)."""
    return np.asarray(patterns.reinjected_responses.argmax(1) == patterns.units, np.float64)


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
