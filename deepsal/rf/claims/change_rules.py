"""Decision rules of P1 and P2: change of fields, representations and weights by training.

The functions compare networks before and after training and controls, one per seed, and yield rows
of the verdict. Letters in shapes: S seeds, U units.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from deepsal.rf.claims.rules import (
    RIVAL_CONTROLS,
    ClaimRow,
    Controls,
    Networks,
    compare_with_rivals,
    conclude_row,
    left_out_note,
    pairs_note,
    point_interval,
    threshold_outcome,
    units_note,
)
from deepsal.rf.measures.profile import FloatArray
from deepsal.rf.measures.reliability import corrected_similarity
from deepsal.rf.measures.similarity import debiased_cka, weight_displacement
from deepsal.statistics import (
    CrossedEstimate,
    crossed_bootstrap,
    finite_median,
    t_interval,
)

UNCHANGED_SIMILARITY = 0.9
"""Least similarity of fields that hardly changed: four fifths of the variance (.81) is shared."""
CHANGED_SIMILARITY = 0.5**0.5
"""Largest similarity of fields that changed fundamentally: half of the variance is shared."""


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


def change_difference_rows(
    before: Networks, after: Networks, controls: Controls, claim: str, stage: str, background: str
) -> Iterator[ClaimRow]:
    """Yield by how much a control's fields are more like those before training than the tuned ones.

    `p` is not corrected for the number of tests, and NaN in P1, which tests no difference.
    """
    key = f"{stage}/{background}"
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
    path: Sequence[str],
    background: str,
) -> Iterator[ClaimRow]:
    """Decide P1 or P2 for one stage and background.

    Args:
        before: one per seed.
        after: one per seed.
        differences: of `change_difference_rows`, with Holm's p.
        claim: P1 or P2.
        path: all stages of the network from the image to the one that is judged.
        background: of the noise.
    """
    stage = path[-1]
    key = f"{stage}/{background}"
    tuned = field_similarities(before, after, key)
    effect = tuned.median().interval
    threshold, sign = (UNCHANGED_SIMILARITY, 1) if claim == "P1" else (CHANGED_SIMILARITY, -1)
    outcome = threshold_outcome(effect, threshold, sign)
    total = tuned.corrected.shape[2]
    notes = [left_out_note(effect.count, total)]
    if not _was_tuned(before, after, path):
        outcome, notes = "", ["training changed nothing up to this stage"]
    elif not np.isfinite(effect.low):
        notes.append(pairs_note(before, after, key, 0.9))
    elif outcome == "undecided":
        notes.append(units_note(effect, threshold))
    elif claim == "P2" and outcome == "supported":
        outcome, note = compare_with_rivals(before, after, differences, RIVAL_CONTROLS)
        notes.append(note)
    row = ClaimRow(claim, stage, "similarity", effect, background=background)
    yield conclude_row(row, outcome, notes, len(after))
    median = finite_median(tuned.ceiling.ravel())
    yield ClaimRow(
        claim, stage, "noise ceiling", point_interval(median, effect.count), background=background
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


def _interval_with_images(values: FloatArray) -> CrossedEstimate:
    """Return the median of values (5, S, U) with the jackknife error over blocks of images."""
    if not np.isfinite(values[0]).any():
        return crossed_bootstrap(values[0])
    parts = np.array([finite_median(part.ravel()) for part in values[1:]])
    count = len(parts)
    error = float(np.sqrt((count - 1) / count * np.square(parts - parts.mean()).sum()))
    return crossed_bootstrap(values[0], extra_error=error if np.isfinite(error) else 0.0)


def _was_tuned(before: Networks, after: Networks, stages: Sequence[str]) -> bool:
    """Return whether training changed weights or statistics of one of these stages."""
    prefixes = tuple(f"{name}." for name in stages)
    return any(
        bool((end.weights[key] != value).any())
        for start, end in zip(before, after, strict=True)
        for key, value in start.weights.items()
        if key.startswith(prefixes) and not key.endswith("num_batches_tracked")
    )
