"""Statements of the claims of He & Pugeault 2018, rows of the verdict, and what all rules share.

`decide_claims` states the rules. `change_rules` decides P1 and P2, `surround_rules` P3, and
`pattern_rules` P4 and P5.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from deepsal.rf.claims.measurements import (
    NetworkMeasurements,
    StageMeasurements,
)
from deepsal.rf.measures.profile import FloatArray
from deepsal.rf.measures.reliability import MIN_RELIABILITY, pairs_needed
from deepsal.statistics import Interval, crossed_bootstrap, exact_share_interval
from deepsal.vocabulary import STAGES

CLAIM_STATEMENTS = {
    "P1": "The first three stages hardly change.",
    "P2": "The last two stages change fundamentally.",
    "P3": "Their units are all variations of centre-surround.",
    "P4": "A larger clamp value spreads the pattern.",
    "P5": "A unit's pattern excites that unit most.",
}
SHALLOW_STAGES, DEEP_STAGES = 3, 2
"""Number of first stages that P1 is about, and of last stages that P2 and P3 are about."""
MAJORITY_SHARE = 0.5
"""Least share of units for which a claim about "all" units must hold."""
SIGNIFICANCE = 0.05
RIVAL_CONTROLS = ("bn_only", "displaced", "shuffled_fixations", "other_task")
"""Controls whose change a change by learning about fixations must exceed."""
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


def stages_of_claim(claim: str, stages: Sequence[str] = STAGES) -> list[str]:
    """Return the stages that a claim is about.

    Args:
        claim: of `CLAIM_STATEMENTS`.
        stages: all stages of the network, from the image on.

    >>> stages_of_claim("P2")
    ['conv4', 'conv5']
    """
    if claim == "P1":
        return [*stages[:SHALLOW_STAGES]]
    return [*stages[-DEEP_STAGES if claim in ("P2", "P3") else -1 :]]


def claims_without_stage(names: Collection[str], chosen: Collection[str]) -> dict[str, str]:
    """Return a sentence for each claim about stages of which none was chosen, `{claim: …}`.

    Args:
        names: claims.
        chosen: stages, of `STAGES`.

    >>> claims_without_stage(["P2", "P5"], ["conv4"])
    {'P5': 'P5 is not decided: it is about conv5; add it to claims.stages'}
    """
    of_claims = {claim: stages_of_claim(claim) for claim in names}
    return {
        claim: f"{claim} is not decided: it is about {', '.join(stages)}; "
        f"add {'one' if len(stages) > 1 else 'it'} to claims.stages"
        for claim, stages in of_claims.items()
        if not {*stages} & {*chosen}
    }


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


def compare_with_rivals(
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


def conclude_row(row: ClaimRow, outcome: str, notes: Sequence[str], seeds: int) -> ClaimRow:
    """Return the row with its outcome; one seed is a description of that network."""
    texts = [note for note in notes if note]
    if seeds == 1 and outcome in ("supported", "not supported"):
        texts.insert(0, f"this network: {outcome}; two seeds or more for a verdict on training")
        outcome = "described"
    return row._replace(outcome=outcome, note="; ".join(texts))


def left_out_note(count: int, total: int) -> str:
    """Return how many of all units were left out as not reliable; "" for none."""
    left = total - count
    return f"{left} of {total} units left out (reliability below {MIN_RELIABILITY})" if left else ""


def pairs_note(before: Networks, after: Networks, key: str, target: float) -> str:
    """Return the number of pairs that would make the least reliable network reliable enough."""
    stages: list[StageMeasurements] = [network.fields[key] for network in (*before, *after)]
    worst = min(stages, key=lambda of: np.nan_to_num(of.median))
    reliability = worst.median
    if not reliability > 0:
        return "no unit has a reliable field"
    needed = float(pairs_needed(np.array(reliability), worst.pairs, target))
    return f"reliability {reliability:.2f} from {worst.pairs} pairs, {target} needs {needed:.2g}"


def units_note(effect: Interval, threshold: float) -> str:
    """Return the number of units whose interval would not reach over the threshold."""
    distance = abs(effect.estimate - threshold)
    half = (effect.high - effect.low) / 2
    if not distance > half / 10 or not np.isfinite(half):
        return "more seeds would decide"
    return f"{effect.count * (half / distance) ** 2:.0f} units or more seeds would decide"


def point_interval(value: float, count: int) -> Interval:
    """Return a number without an interval."""
    return Interval(value, np.nan, np.nan, count)
