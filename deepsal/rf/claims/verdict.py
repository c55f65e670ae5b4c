"""The claims of "Deep saliency: what is learnt by a deep network about saliency?", decided."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from deepsal.rf.claims import rules
from deepsal.rf.claims.measurements import NetworkMeasurements
from deepsal.rf.claims.rules import (
    MAJORITY_SHARE,
    ClaimRow,
    interval_over_units,
    threshold_outcome,
)
from deepsal.rf.measures.profile import FloatArray
from deepsal.rf.measures.shape import unit_redundancy
from deepsal.rf.measures.similarity import field_cosine, field_gain, field_shift, linear_cka
from deepsal.rf.measures.weights import weight_displacement
from deepsal.statistics import Interval, bootstrap_interval, holm_correction, wilcoxon_test

UNCHANGED_COSINE, CHANGED_COSINE = 0.9, 0.5
"""Median cosine of two fields at and above which they hardly, at and below which they
fundamentally changed."""
SHALLOW_STAGES, DEEP_STAGES = 3, 2
"""How many of the first stages P1 speaks of, and of the last P2 and P3."""
WITHDRAWAL_NOTE = (
    "Outcomes of P1 from conv3 on, P2 and P3 are withdrawn until they are measured again. They "
    "rest on mean gradients over a few patches, and such fields are not reliable from conv3 on: in "
    "EfficientNet-Lite0 the split-half reliability from 8 patches is .99, .75, .16, .01 and .00 "
    "(conv1 to conv5)."
)
"""The note that goes with every verdict."""


def decide_claims(
    before: NetworkMeasurements | Sequence[NetworkMeasurements],
    after: NetworkMeasurements | Sequence[NetworkMeasurements],
    controls: Mapping[str, NetworkMeasurements],
) -> list[ClaimRow]:
    """Decide the claims of He & Pugeault 2018 (arXiv 1801.04261) by stated rules.

    Effects are medians (or shares) over units with 95 % bootstrap intervals, over seeds too where
    several runs are given; the paired differences below are taken unit by unit.

    - P1, the first three layers hardly change: cosine of a unit's field before and after.
      Supported if the interval lies at 0.9 and above, not supported if below.
    - P2, the last two change fundamentally: the same. Supported if the interval lies at 0.5 and
      below, not supported if above. Null: two networks that learnt nothing.
    - P3, their units are all variations of centre-surround: the share of units that
      `fit.centre_surround` calls so. Supported if its interval lies at 0.5 and above and the
      share is higher than before and than in every control (interval of each difference above 0);
      not supported if it lies below 0.5, or the share is no higher than in one of them (interval
      of a difference at 0 and below). CSI, SSI and k, which inform, come with the p of Wilcoxon's
      signed-rank test against before (unit by unit, means over seeds), by Holm's method over all.
    - P4, a larger clamp value spreads the pattern: the width of a unit's pattern at c = 3 over
      that at c = 0.5. Supported if the interval lies above 1, not supported if at 1.
    - P5, a unit's pattern excites that unit and inhibits the others: the share of units that
      answer more to their own pattern than all others do; and of the other units, the share that
      answers less to it than to a blank image (median over patterns). Either is supported if the
      interval lies at 0.5 and above, and above that before; not supported if it lies below 0.5.
      The share of units that answer more to their own pattern than to a blank image, to noise, to
      its phase-scrambled self, and than to other units' patterns (median of these) informs.

    Anything else, and whatever lacks data for an interval, is undecided. P4 and P5 are left out
    where a portrait has no pattern (the network is no chain).

    Args:
        before: portraits of the networks before training, one per seed, or one for all.
        after: portraits after training, of the same units on the same images.
        controls: portraits of `controls.every`, the same units on the same images.

    Raises:
        ValueError: portraits of other units, or as many before as after.
    """
    afters = [after] if isinstance(after, NetworkMeasurements) else [*after]
    befores = [before] if isinstance(before, NetworkMeasurements) else [*before]
    befores = befores * len(afters) if len(befores) == 1 else befores
    _validate(befores, afters, controls)
    stages = [*afters[0].units]
    rows = [
        *_decide_change(befores, afters, controls, "P1", stages[:SHALLOW_STAGES]),
        *_decide_change(befores, afters, controls, "P2", stages[-DEEP_STAGES:]),
        *_decide_centre_surround(befores, afters, controls, stages[-DEEP_STAGES:]),
    ]
    if all(p.pattern is not None for p in [*befores, *afters]):
        rows += [*rules.decide_pattern_spread(befores, afters, stages[-1])]
        rows += [*rules.decide_pattern_excitation(befores, afters, stages[-1])]
    adjusted = iter(holm_correction(np.array([row.p for row in rows])).tolist())
    return [row._replace(p=next(adjusted)) for row in rows]


def _decide_change(
    befores: Sequence[NetworkMeasurements],
    afters: Sequence[NetworkMeasurements],
    controls: Mapping[str, NetworkMeasurements],
    claim: str,
    stages: Sequence[str],
) -> Iterator[ClaimRow]:
    random = [name for name in controls if name.startswith("untrained/")][:2]
    pairs = [*zip(befores, afters, strict=True)]
    for stage in stages:
        effect = interval_over_units(
            [field_cosine(b.field[stage], a.field[stage]) for b, a in pairs]
        )
        reference = ("", float("nan"))
        if len(random) == 2:
            alike = field_cosine(*(controls[name].field[stage] for name in random))
            reference = ("untrained", float(np.nanmedian(alike)))
        bar, wanted = (UNCHANGED_COSINE, 1) if claim == "P1" else (CHANGED_COSINE, -1)
        yield ClaimRow(
            claim,
            stage,
            "cosine",
            effect,
            *reference,
            outcome=threshold_outcome(effect, bar, wanted),
        )
        yield ClaimRow(
            claim,
            stage,
            "gain",
            interval_over_units([field_gain(b.field[stage], a.field[stage]) for b, a in pairs]),
        )
        yield ClaimRow(
            claim,
            stage,
            "shift",
            interval_over_units([_shift_distance(b, a, stage) for b, a in pairs]),
        )
        similar = [linear_cka(b.activation[stage], a.activation[stage]) for b, a in pairs]
        moved = [weight_displacement(b.weights, a.weights, [stage])[stage] for b, a in pairs]
        yield ClaimRow(claim, stage, "cka", _median_over_seeds(similar))
        yield ClaimRow(claim, stage, "displacement", _median_over_seeds(moved))


def _decide_centre_surround(
    befores: Sequence[NetworkMeasurements],
    afters: Sequence[NetworkMeasurements],
    controls: Mapping[str, NetworkMeasurements],
    stages: Sequence[str],
) -> Iterator[ClaimRow]:
    for stage in stages:
        now = [after.measures[stage]["centre_surround"] for after in afters]
        share = interval_over_units(now, np.mean)
        others = {"before": befores} | {
            name: [control] * len(now) for name, control in controls.items()
        }
        shares, differences = {}, {}
        for name, portraits in others.items():
            then = [portrait.measures[stage]["centre_surround"] for portrait in portraits]
            shares[name] = float(np.nanmean(np.concatenate(then)))
            differences[name] = interval_over_units(
                [a - b for a, b in zip(now, then, strict=True)], np.mean
            )
        highest = max(shares, key=lambda name: np.nan_to_num(shares[name], nan=-1.0))
        lows, highs = ([d[i] for d in differences.values()] for i in (1, 2))
        outcome = threshold_outcome(share, MAJORITY_SHARE, 1)
        if outcome == "supported" and not all(low > 0 for low in lows):
            outcome = "not supported" if any(high <= 0 for high in highs) else "undecided"
        yield ClaimRow(
            "P3", stage, "centre-surround", share, highest, shares[highest], outcome=outcome
        )
        for measure in ("csi", "ssi", "k"):
            values, start = (
                [portrait.measures[stage][measure] for portrait in portraits]
                for portraits in (afters, befores)
            )
            p = wilcoxon_test(np.mean(start, 0), np.mean(values, 0))
            yield ClaimRow(
                "P3",
                stage,
                measure,
                interval_over_units(values),
                "before",
                interval_over_units(start).estimate,
                p,
            )
        alike, first = (
            _median_over_seeds([unit_redundancy(portrait.field[stage]) for portrait in portraits])
            for portraits in (afters, befores)
        )
        yield ClaimRow("P3", stage, "redundancy", alike, "before", first.estimate)


def _shift_distance(
    before: NetworkMeasurements, after: NetworkMeasurements, stage: str
) -> FloatArray:
    """Return how far each unit's field moved, pixels."""
    return np.asarray(np.hypot(*field_shift(before.field[stage], after.field[stage]).T))


def _median_over_seeds(values: Sequence[float]) -> Interval:
    """Return the median of one value per seed; there are too few for an interval."""
    return bootstrap_interval(np.array(values))


def _validate(
    befores: Sequence[NetworkMeasurements],
    afters: Sequence[NetworkMeasurements],
    controls: Mapping[str, NetworkMeasurements],
) -> None:
    if not afters or len(befores) != len(afters):
        raise ValueError(
            f"{len(befores)} portraits before and {len(afters)} after; give one each per seed"
        )
    for name, portrait in [*enumerate([*befores, *afters]), *controls.items()]:
        if portrait.units != afters[0].units:
            raise ValueError(
                f"portrait {name!r} has other layers or units than the first one after: take all "
                "portraits of the same units"
            )
