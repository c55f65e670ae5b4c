"""Decision rules of P3: share of centre-surround units, with the power of the calibrated rule.

The functions compare networks before and after training and controls, one per seed, and yield rows
of the verdict. Letters in shapes: S seeds, U units.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from deepsal.rf.claims.calibration import MIN_POWER
from deepsal.rf.claims.measurements import (
    NetworkMeasurements,
    StageMeasurements,
)
from deepsal.rf.claims.rules import (
    MAJORITY_SHARE,
    RIVAL_CONTROLS,
    ClaimRow,
    Controls,
    Networks,
    compare_with_rivals,
    conclude_row,
    left_out_note,
    pairs_note,
    point_interval,
    share_interval,
    threshold_outcome,
    units_note,
)
from deepsal.rf.measures.profile import FloatArray
from deepsal.rf.measures.shape import unit_redundancy
from deepsal.statistics import (
    Interval,
    crossed_bootstrap,
    exact_share_interval,
    finite_median,
)

SHAPE_RELIABILITY = 0.95
"""Reliability at which the calibrated rule finds most units of k = .55: at .97 it found .92, at .88
.47 (EfficientNet-Lite0, conv4)."""


def share_difference_rows(
    before: Networks, after: Networks, controls: Controls, stage: str, background: str
) -> Iterator[ClaimRow]:
    """Yield by how much the share of units found centre-surround is higher after training.

    Each difference is one to before training, or to a control. `p` is not corrected for the number
    of tests.
    """
    key = f"{stage}/{background}"
    called = _called(after, key)
    for name, group in {"before": before, **controls}.items():
        reference = _called(group, key)
        difference, p = crossed_bootstrap(called - reference, np.nanmean)
        share = float(np.nanmean(reference)) if np.isfinite(reference).any() else np.nan
        yield ClaimRow("P3", stage, "more than", difference, name, share, p, background=background)


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
    notes = [left_out_note(observed.count, called.shape[1])]
    if usable:
        power = float(np.mean([rule.decisive_power for rule in usable]))
        false_alarms = float(np.mean([rule.false_alarm_rate for rule in usable]))
        plantings = sum(rule.plantings for rule in usable)
        effect = corrected_share(observed, false_alarms, power, plantings)
        outcome = threshold_outcome(effect, MAJORITY_SHARE, 1)
        notes.append(f"power {power:.2f} at k = .55, false alarms {false_alarms:.2f}")
        needed = None
        if outcome == "supported":
            rivals = ("before", "untrained", *RIVAL_CONTROLS)
            outcome, needed = compare_with_rivals(before, after, differences, rivals)
        elif outcome == "undecided":
            needed = units_note(effect, MAJORITY_SHARE)
        if outcome != "supported" and power < MIN_POWER:
            outcome, needed = "undecided", _power_note(before, after, key)
        notes.append(needed or "")
    else:
        effect, outcome = Interval(np.nan, np.nan, np.nan, 0), "undecided"
        notes.append(pairs_note(before, after, key, SHAPE_RELIABILITY))
    yield conclude_row(row._replace(measure="share", effect=effect), outcome, notes, len(after))
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
        point_interval(float(redundancy), count),
        "before",
        float(start_redundancy),
        background=background,
    )


def corrected_share(
    observed: Interval, false_alarms: float, power: float, plantings: int
) -> Interval:
    """Correct the share that a rule finds for the units that it misses and calls falsely.

    (observed − false alarms) / (power − false alarms); Rogan & Gladen 1978, Am J Epidemiol 107:71.
    The ends are the widest that the rates allow: the lower one assumes that no unit is missed, the
    upper one that there are no false alarms, and that the power is the least that is likely.

    Args:
        observed: the share that the rule finds.
        false_alarms: rate.
        power: rate.
        plantings: number behind the power; its exact 95 % interval gives the least one.

    Returns:
        No estimate, between 0 and 1, where the power may be as low as the false alarms.

    >>> corrected_share(Interval(0.5, 0.4, 0.6, 99), 0.05, power=0.8, plantings=300).estimate
    0.6
    """
    least = exact_share_interval(power * plantings, plantings).low
    if least <= false_alarms:
        return Interval(np.nan, 0.0, 1.0, observed.count)
    estimate = np.clip((observed.estimate - false_alarms) / (power - false_alarms), 0, 1)
    low = max(0.0, (observed.low - false_alarms) / (1 - false_alarms))
    return Interval(round(float(estimate), 9), low, min(1.0, observed.high / least), observed.count)


def _called(group: Networks, key: str) -> FloatArray:
    """Return 1, 0 or NaN for each unit of each network, (S, U)."""
    missing = np.full(group[0].fields[key].blocks.shape[1], np.nan)
    return np.array([n.fields[key].measures.get("centre_surround", missing) for n in group])


def _unit_measure(network: NetworkMeasurements, stage: str, key: str, measure: str) -> FloatArray:
    missing = np.full(len(network.units[stage]), np.nan)
    return network.fields[key].measures.get(measure, missing)


def _power_note(before: Networks, after: Networks, key: str) -> str:
    """Return what would give the rule of P3 its power: larger images, or more pairs."""
    narrow = [network.fields[key] for network in after if _lacks_room(network.fields[key])]
    if not narrow:
        return pairs_note(before, after, key, SHAPE_RELIABILITY)
    side = min(narrow[0].blocks.shape[-2:]) * narrow[0].step
    return f"fields of {side} px have no room for a surround; larger images would decide"


def _lacks_room(stage: StageMeasurements) -> bool:
    return stage.rule is not None and stage.rule.room < MAJORITY_SHARE
