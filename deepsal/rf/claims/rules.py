"""Decision rules of the claims P1 to P5 of He & Pugeault 2018: statements, thresholds, outcomes.

`decide_claims` states the rules. The functions here compare measurements of networks before and
after training and of controls, one per seed, and yield rows of the verdict.

Letters in shapes: S seeds, U units.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from deepsal.rf.claims.calibration import MIN_POWER
from deepsal.rf.claims.measurements import (
    NetworkMeasurements,
    PatternMeasurements,
    StageMeasurements,
)
from deepsal.rf.measures.profile import FloatArray
from deepsal.rf.measures.reliability import MIN_RELIABILITY, corrected_similarity, pairs_needed
from deepsal.rf.measures.shape import unit_redundancy
from deepsal.rf.measures.similarity import debiased_cka, weight_displacement
from deepsal.statistics import (
    CrossedEstimate,
    Interval,
    crossed_bootstrap,
    exact_share_interval,
    finite_median,
    t_interval,
)

CLAIM_STATEMENTS = {
    "P1": "The first three stages hardly change.",
    "P2": "The last two stages change fundamentally.",
    "P3": "Their units are all variations of centre-surround.",
    "P4": "A larger clamp value spreads the pattern.",
    "P5": "A unit's pattern excites that unit most.",
}
UNCHANGED_SIMILARITY = 0.9
"""Least similarity of fields that hardly changed: four fifths of the variance (.81) is shared."""
CHANGED_SIMILARITY = 0.5**0.5
"""Largest similarity of fields that changed fundamentally: half of the variance is shared."""
MAJORITY_SHARE = 0.5
"""Least share of units for which a claim about "all" units must hold."""
SIGNIFICANCE = 0.05
SHAPE_RELIABILITY = 0.95
"""Reliability at which the calibrated rule finds most units of k = .55: at .97 it found .92, at .88
.47 (EfficientNet-Lite0, conv4)."""
RIVAL_CONTROLS = ("bn_only", "displaced", "shuffled_fixations", "other_task")
"""Controls whose change a change by learning about fixations must exceed."""
TRAINED_CONTROLS = ("shuffled_fixations", "other_task")
IDENTITY_NOTE = "identity of the method (positive homogeneity), not a test: 1 follows from it"

Networks = Sequence[NetworkMeasurements]
Controls = Mapping[str, Networks]


class ClaimRow(NamedTuple):
    """One row of the verdict: an effect with its interval, its reference and the outcome.

    `reference` names the network that `reference_estimate` belongs to: "before", or a control. `p`
    is NaN without a test; in a verdict it is Holm's. `outcome` is "" in a row that informs and
    decides nothing, and "described" where one seed describes one network. `note` says what was left
    out, or what would decide. `background` is that of the noise, "" where there is none.
    """

    claim: str
    stage: str
    measure: str
    effect: Interval
    reference: str = ""
    reference_estimate: float = float("nan")
    p: float = float("nan")
    outcome: str = ""
    background: str = ""
    note: str = ""


class Similarities(NamedTuple):
    """Similarities of fields before training with those of other networks, per seed and unit."""

    corrected: FloatArray
    """(5, S, U): corrected for noise; from all blocks, then without each quarter of them."""
    ceiling: FloatArray
    """(S, U): of the correlation as measured."""

    def median(self) -> CrossedEstimate:
        """Return the median over units with its interval; images count as a random factor."""
        return _interval_with_images(self.corrected)

    def above(self, other: "Similarities") -> CrossedEstimate:
        """Return the median difference to others, paired by unit and seed."""
        return _interval_with_images(self.corrected - other.corrected)


def field_similarities(before: Networks, others: Networks, key: str) -> Similarities:
    """Compare fields before training with those of other networks, one per seed.

    Args:
        before: one per seed.
        others: one per seed.
        key: stage and background, such as `conv4/natural`.
    """
    corrected, ceilings = [], []
    for start, end in zip(before, others, strict=True):
        first, second = start.fields[key].blocks, end.fields[key].blocks
        _, whole, ceiling = corrected_similarity(first, second)
        quarters = []
        for left_out in np.array_split(np.arange(len(first)), 4):
            kept = np.setdiff1d(np.arange(len(first)), left_out)
            part = corrected_similarity(first[kept], second[kept])[1].value
            quarters.append(np.where(np.isfinite(whole.value), part, np.nan))
        corrected.append([whole.value, *quarters])
        ceilings.append(ceiling)
    return Similarities(np.array(corrected).swapaxes(0, 1), np.array(ceilings))


def difference_rows(
    before: Networks, after: Networks, controls: Controls, claim: str, stage: str, background: str
) -> Iterator[ClaimRow]:
    """Yield the differences of one stage that are tested: to each control, and to before in P3.

    Of P1 and P2: by how much the control's fields are more like those before training than the
    tuned ones. Of P3: by how much the share of units that are found to be centre-surround is higher
    after training. `p` is not corrected for the number of tests.
    """
    key = f"{stage}/{background}"
    if claim == "P3":
        called = _called(after, key)
        for name, group in {"before": before, **controls}.items():
            reference = _called(group, key)
            difference, p = crossed_bootstrap(called - reference, np.nanmean)
            share = float(np.nanmean(reference)) if np.isfinite(reference).any() else np.nan
            yield ClaimRow(
                claim, stage, "more than", difference, name, share, p, background=background
            )
        return
    tuned = field_similarities(before, after, key)
    for name, group in controls.items():
        control = field_similarities(before, group, key)
        difference, p = control.above(tuned)
        p = p if claim == "P2" else np.nan  # P1 tests no difference
        reference_estimate = finite_median(control.corrected[0].ravel())
        yield ClaimRow(
            claim,
            stage,
            "more change than",
            difference,
            name,
            reference_estimate,
            p,
            background=background,
        )


def decide_change(
    before: Networks,
    after: Networks,
    differences: Sequence[ClaimRow],
    claim: str,
    stage: str,
    background: str,
) -> Iterator[ClaimRow]:
    """Decide P1 or P2 for one stage and background, given its differences with Holm's p."""
    key = f"{stage}/{background}"
    tuned = field_similarities(before, after, key)
    effect = tuned.median().interval
    threshold, sign = (UNCHANGED_SIMILARITY, 1) if claim == "P1" else (CHANGED_SIMILARITY, -1)
    outcome = threshold_outcome(effect, threshold, sign)
    total = tuned.corrected.shape[2]
    notes = [_left_out(effect.count, total)]
    if not _was_tuned(before, after, stage):
        outcome, notes = "", ["training changed nothing up to this stage"]
    elif not np.isfinite(effect.low):
        notes.append(_pairs_note(before, after, key, 0.9))
    elif outcome == "undecided":
        notes.append(_units_note(effect, threshold))
    elif claim == "P2" and outcome == "supported":
        outcome, note = _compare_with_rivals(before, after, differences, RIVAL_CONTROLS)
        notes.append(note)
    row = ClaimRow(claim, stage, "similarity", effect, background=background)
    yield _conclude(row, outcome, notes, len(after))
    median = finite_median(tuned.ceiling.ravel())
    yield ClaimRow(
        claim, stage, "noise ceiling", _point(median, effect.count), background=background
    )


def representation_rows(
    before: Networks, after: Networks, controls: Controls, claim: str, stage: str
) -> Iterator[ClaimRow]:
    """Yield CKA and weight displacement of the tuned networks, beside those of each control."""

    def alignment(group: Networks) -> list[float]:
        pairs = zip(before, group, strict=True)
        return [debiased_cka(b.activations[stage], a.activations[stage]) for b, a in pairs]

    def displacement(group: Networks) -> list[float]:
        pairs = zip(before, group, strict=True)
        return [weight_displacement(b.weights, a.weights, [stage])[stage] for b, a in pairs]

    samples = f"n = {len(before[0].activations[stage])} positions of the images"
    for measure, of, note in (("cka", alignment, samples), ("displacement", displacement, "")):
        effect = t_interval(of(after))
        for name, group in {"": after, **controls}.items():
            value = float(np.mean(of(group))) if name else np.nan
            yield ClaimRow(claim, stage, measure, effect, name, value, note=note)


def decide_centre_surround(
    before: Networks,
    after: Networks,
    differences: Sequence[ClaimRow],
    stage: str,
    background: str,
) -> Iterator[ClaimRow]:
    """Decide P3 for one stage and background, given its differences with Holm's p."""
    key = f"{stage}/{background}"
    called, rules = _called(after, key), [network.fields[key].rule for network in after]
    observed = share_interval(called)
    usable = [rule for rule in rules if rule]
    row = ClaimRow("P3", stage, "found", observed, background=background)
    notes = [_left_out(observed.count, called.shape[1])]
    if usable:
        power = float(np.mean([rule.decisive_power for rule in usable]))
        false_alarms = float(np.mean([rule.false_alarm_rate for rule in usable]))
        effect = corrected_share(observed, false_alarms, power)
        outcome = threshold_outcome(effect, MAJORITY_SHARE, 1)
        notes.append(f"power {power:.2f} at k = .55, false alarms {false_alarms:.2f}")
        needed = None
        if outcome == "supported":
            rivals = ("before", "untrained", *RIVAL_CONTROLS)
            outcome, needed = _compare_with_rivals(before, after, differences, rivals)
        elif outcome == "undecided":
            needed = _units_note(effect, MAJORITY_SHARE)
        if outcome != "supported" and power < MIN_POWER:
            outcome, needed = "undecided", _power_note(before, after, key)
        notes.append(needed or "")
    else:
        effect, outcome = Interval(np.nan, np.nan, np.nan, 0), "undecided"
        notes.append(_pairs_note(before, after, key, SHAPE_RELIABILITY))
    yield _conclude(row._replace(measure="share", effect=effect), outcome, notes, len(after))
    yield row
    for measure in ("csi", "k"):
        start, end = (
            np.array([_unit_measure(network, stage, key, measure) for network in group])
            for group in (before, after)
        )
        yield ClaimRow(
            "P3",
            stage,
            measure,
            crossed_bootstrap(end).interval,
            "before",
            finite_median(start.ravel()),
            background=background,
        )
    start_redundancy, redundancy = (
        np.mean([unit_redundancy(network.fields[key].blocks.mean(0)) for network in group])
        for group in (before, after)
    )
    count = after[0].fields[key].blocks.shape[1]
    yield ClaimRow(
        "P3",
        stage,
        "redundancy",
        _point(float(redundancy), count),
        "before",
        float(start_redundancy),
        background=background,
    )


def share_interval(called: FloatArray) -> Interval:
    """Return the share of units that a rule calls, with its 95 % interval.

    One seed: the exact interval of the units of this network. Several: the crossed bootstrap over
    units and seeds, but never narrower than the exact interval of the units.

    Args:
        called: (S, U), 1, 0, or NaN for a unit that is not reliable.
    """
    known = np.isfinite(called).any(0)
    count = int(known.sum())
    if not count:
        return Interval(np.nan, np.nan, np.nan, 0)
    share = float(np.nanmean(called))
    exact = exact_share_interval(share * count, count)
    if len(called) == 1:
        return exact
    crossed = crossed_bootstrap(called, np.nanmean).interval
    low, high = np.nanmin([exact.low, crossed.low]), np.nanmax([exact.high, crossed.high])
    return Interval(share, max(float(low), 0.0), min(float(high), 1.0), count)


def corrected_share(observed: Interval, false_alarms: float, power: float) -> Interval:
    """Correct the share that a rule finds for the units that it misses and calls falsely.

    (observed − false alarms) / (power − false alarms); Rogan & Gladen 1978, Am J Epidemiol 107:71.
    The ends are the widest that the rates allow: the lower one assumes that no unit is missed, the
    upper one that there are no false alarms.

    >>> corrected_share(Interval(0.5, 0.4, 0.6, 99), false_alarms=0.05, power=0.8).estimate
    0.6
    """
    if power <= false_alarms:
        return Interval(np.nan, 0.0, 1.0, observed.count)
    estimate = np.clip((observed.estimate - false_alarms) / (power - false_alarms), 0, 1)
    low = max(0.0, (observed.low - false_alarms) / (1 - false_alarms))
    return Interval(round(float(estimate), 9), low, min(1.0, observed.high / power), observed.count)


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


def decide_pattern_spread(
    before: Sequence[PatternMeasurements], after: Sequence[PatternMeasurements], stage: str
) -> Iterator[ClaimRow]:
    """Describe P4: the factor by which a larger clamp value widens the pattern of a unit."""
    start, effect = (
        crossed_bootstrap(np.array([p.spread for p in group])).interval for group in (before, after)
    )
    yield ClaimRow("P4", stage, "spread", effect, "before", start.estimate, note=IDENTITY_NOTE)


def decide_pattern_excitation(
    before: Sequence[PatternMeasurements], after: Sequence[PatternMeasurements], stage: str
) -> Iterator[ClaimRow]:
    """Decide P5: whether the pattern of a unit excites that unit and inhibits the others."""
    for measure, of_units, statistic in (
        ("own unit", _prefers_own_pattern, np.nanmean),
        ("inhibited", _share_below_blank, np.nanmedian),
    ):
        start, end = (np.array([of_units(p) for p in group]) for group in (before, after))
        effect = crossed_bootstrap(end, statistic).interval
        outcome = threshold_outcome(effect, MAJORITY_SHARE, 1)
        if outcome == "supported" and not crossed_bootstrap(end - start, statistic)[0].low > 0:
            outcome = "undecided"
        reference = float(statistic(start))
        row = ClaimRow("P5", stage, measure, effect, "before", reference)
        yield _conclude(row, outcome, [], len(after))
    for image in ("blank", "noise", "scrambled", "others"):
        exceeds = partial(_exceeds_reference, image=image)
        start, end = (np.array([exceeds(p) for p in group]) for group in (before, after))
        effect = crossed_bootstrap(end, np.nanmean).interval
        yield ClaimRow("P5", stage, f"over {image}", effect, "before", float(np.mean(start)))


def _interval_with_images(values: FloatArray) -> CrossedEstimate:
    """Return the median of values (5, S, U) with the jackknife error over blocks of images."""
    if not np.isfinite(values[0]).any():
        return crossed_bootstrap(values[0])
    parts = np.array([finite_median(part.ravel()) for part in values[1:]])
    count = len(parts)
    error = float(np.sqrt((count - 1) / count * np.square(parts - parts.mean()).sum()))
    return crossed_bootstrap(values[0], extra_error=error if np.isfinite(error) else 0.0)


def _called(group: Networks, key: str) -> FloatArray:
    """Return 1, 0 or NaN for each unit of each network, (S, U)."""
    missing = np.full(group[0].fields[key].blocks.shape[1], np.nan)
    return np.array([n.fields[key].measures.get("centre_surround", missing) for n in group])


def _unit_measure(network: NetworkMeasurements, stage: str, key: str, measure: str) -> FloatArray:
    missing = np.full(len(network.units[stage]), np.nan)
    return network.fields[key].measures.get(measure, missing)


def _was_tuned(before: Networks, after: Networks, stage: str) -> bool:
    """Return whether training changed weights or statistics of this stage or an earlier one."""
    stages = [*after[0].units]
    prefixes = tuple(f"{name}." for name in stages[: stages.index(stage) + 1])
    return any(
        bool((end.weights[key] != value).any())
        for start, end in zip(before, after, strict=True)
        for key, value in start.weights.items()
        if key.startswith(prefixes) and not key.endswith("num_batches_tracked")
    )


def _compare_with_rivals(
    before: Networks, after: Networks, differences: Sequence[ClaimRow], rivals: Sequence[str]
) -> tuple[str, str]:
    """Return the outcome of a claim whose effect must exceed that of rivals, and a note."""
    rows = {row.reference: row for row in differences if row.reference in rivals}
    if below := [name for name, row in rows.items() if row.effect.high <= 0]:
        return "not supported", f"no more than {', '.join(below)}"
    if level := [
        name for name, row in rows.items() if not (row.effect.low > 0 and row.p < SIGNIFICANCE)
    ]:
        return "undecided", f"not surely more than {', '.join(level)}; more seeds would decide"
    required = [name for name in rivals if name != "bn_only" or _statistics_changed(before, after)]
    if missing := [name for name in required if name not in rows]:
        return "undecided", f"controls that would decide: {', '.join(missing)}"
    return "supported", ""


def _statistics_changed(before: Networks, after: Networks) -> bool:
    return any(
        not bool((end.weights[key] == value).all())
        for start, end in zip(before, after, strict=True)
        for key, value in start.weights.items()
        if key.endswith("running_mean")
    )


def _conclude(row: ClaimRow, outcome: str, notes: Sequence[str], seeds: int) -> ClaimRow:
    """Return the row with its outcome; one seed is a description of that network."""
    texts = [note for note in notes if note]
    if seeds == 1 and outcome in ("supported", "not supported"):
        texts.insert(0, f"this network: {outcome}; two seeds or more for a verdict on training")
        outcome = "described"
    return row._replace(outcome=outcome, note="; ".join(texts))


def _left_out(count: int, total: int) -> str:
    left = total - count
    return f"{left} of {total} units left out (reliability below {MIN_RELIABILITY})" if left else ""


def _pairs_note(before: Networks, after: Networks, key: str, target: float) -> str:
    """Return the number of pairs that would make the least reliable network reliable enough."""
    stages: list[StageMeasurements] = [network.fields[key] for network in (*before, *after)]
    worst = min(stages, key=lambda of: np.nan_to_num(of.median))
    reliability = worst.median
    if not reliability > 0:
        return "no unit has a reliable field"
    needed = float(pairs_needed(np.array(reliability), worst.pairs, target))
    return f"reliability {reliability:.2f} from {worst.pairs} pairs, {target} needs {needed:.2g}"


def _power_note(before: Networks, after: Networks, key: str) -> str:
    """Return what would give the rule of P3 its power: larger images, or more pairs."""
    narrow = [network.fields[key] for network in after if _lacks_room(network.fields[key])]
    if not narrow:
        return _pairs_note(before, after, key, SHAPE_RELIABILITY)
    side = min(narrow[0].blocks.shape[-2:]) * narrow[0].step
    return f"fields of {side} px have no room for a surround; larger images would decide"


def _lacks_room(stage: StageMeasurements) -> bool:
    return stage.rule is not None and stage.rule.room < MAJORITY_SHARE


def _units_note(effect: Interval, threshold: float) -> str:
    """Return the number of units whose interval would not reach over the threshold."""
    distance = abs(effect.estimate - threshold)
    half = (effect.high - effect.low) / 2
    if not distance > half / 10 or not np.isfinite(half):
        return "more seeds would decide"
    return f"{effect.count * (half / distance) ** 2:.0f} units or more seeds would decide"


def _point(value: float, count: int) -> Interval:
    return Interval(value, np.nan, np.nan, count)


def _prefers_own_pattern(patterns: PatternMeasurements) -> FloatArray:
    """Return 1 for a unit that responds most of all to its own pattern, else 0, (U,).

    Each unit's responses are first standardised over the patterns: a loud channel is not preferred
    for being loud. NaN with fewer than two patterns.
    """
    responses = patterns.reinjected_responses
    if len(responses) < 2:
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
