"""Verdict on the claims of "Deep saliency: what is learnt by a deep network about saliency?"."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from deepsal.rf.claims import change_rules, pattern_rules, surround_rules
from deepsal.rf.claims.measurements import NetworkMeasurements
from deepsal.rf.claims.rules import (
    CLAIM_STATEMENTS,
    ClaimRow,
    Controls,
    Networks,
    share_interval,
    stages_of_claim,
)
from deepsal.rf.claims.suppression import suppression_rows
from deepsal.statistics import holm_correction
from deepsal.vocabulary import STAGES


def decide_claims(
    before: NetworkMeasurements | Networks,
    after: NetworkMeasurements | Networks,
    controls: Mapping[str, NetworkMeasurements | Networks],
    names: Collection[str] = tuple(CLAIM_STATEMENTS),
    stages: Sequence[str] = STAGES,
) -> list[ClaimRow]:
    """Decide the claims of He & Pugeault 2018 (arXiv 1801.04261) by stated rules.

    Fields are measured with noise on natural images and on grey, and each is decided on its own.
    Units whose field has a reliability below .3 are left out, and their number is said. Intervals
    (95 %) are over units and seeds drawn anew, crossed; those of similarities hold the choice of
    images too. Differences are paired, unit by unit and seed by seed. Their p are Holm's over all
    differences of one verdict.

    - P1, the first three stages hardly change: similarity of a unit's field before and after, that
      is their correlation corrected for the noise of both (median over units). Supported if the
      interval lies at .9 and above (four fifths of the variance are shared), not supported if it
      lies below. A stage up to which training changed nothing is not tested.
    - P2, the last two stages change fundamentally: the same similarity. Supported if the interval
      lies at √½ and below (less than half of the variance is shared), *and* the fields changed more
      than those of each control: batch-norm statistics re-estimated only, displaced at random as
      far, trained on shuffled fixations, trained on another task (interval of the difference above
      0, Holm's p below .05). Not supported if it lies above √½, or a control changed as much
      (interval at 0 or below). Undecided while one of these controls is missing.
    - P3, the units of the last two stages are all variations of centre-surround: the share of
      reliable units that the calibrated rule finds (`calibrate_rule`), corrected for the units that
      it misses and calls falsely (`corrected_share`). Supported if the interval lies at .5 and
      above, and more units are found than before training, in the untrained network and in each
      control of P2 (as there). Not supported if it lies below .5, or no more units are found than
      in one of these. Undecided unless the rule finds at least .8 of planted units with k = .55.
    - P4, a larger clamp value spreads the pattern: an identity of the method, which is positively
      homogeneous. The ratio of widths is reported and decides nothing.
    - P5, a unit's pattern excites that unit and inhibits the others: the share of units (the first
      64 of the last stage) that respond more to their own pattern than all others do, each unit's
      responses standardised over the patterns; and of the other units, the share that responds less
      to it than to a blank image (median over patterns). Either is supported if the interval lies
      at .5 and above, and it is more than before training, in the untrained network and in each
      control of P2 (as there). Not supported if it lies below .5, or is no more than in one of
      these. The same shares of the stages before it inform.

    P2, P3 and P5 are compared with controls only where their own interval supports them.
    All other cases, and those with too few data for an interval, are undecided; the note names the
    pairs, units, seeds or controls that would decide. One seed gives no verdict about training: its
    outcome is "described", and the note states what holds of that network. Similarity of
    representations (CKA), weight displacement, CSI, k, redundancy, and suppression by gratings and
    by disks (`suppression_rows`) inform. P4 and P5 are
    left out where a network has no patterns (it is no chain).

    Args:
        before: measurements of the networks before training, one per seed, or one for all seeds.
        after: measurements after training, of the same units with the same noise.
        controls: measurements of controls by name, one per seed or one for all: those of
            `BUILT_IN_CONTROLS`, `shuffled_fixations` and `other_task`.
        names: claims to decide; P1 to P3 need fields, P4 and P5 patterns.
        stages: all stages of the network, from the image on. The measured ones may be some of them:
            which claims a stage is judged by depends on its place among all. A claim about stages
            that were not measured has no row.

    Raises:
        ValueError: the units or stages differ, a measured stage is none of `stages`, or there are
            other numbers of seeds.
    """
    after = [after] if isinstance(after, NetworkMeasurements) else [*after]
    before = _per_seed("before", before, len(after))
    by_seed = {name: _per_seed(name, group, len(after)) for name, group in controls.items()}
    _validate(before, after, by_seed, stages)
    compared = before, after, by_seed
    claims = [
        (claim, stage)
        for claim in ("P1", "P2", "P3")
        if claim in names
        for stage in stages_of_claim(claim, stages)
        if any(key.startswith(f"{stage}/") for key in after[0].fields)
    ]
    last, patterns = stages[-1], _patterns(*compared) if "P5" in names else {}
    excited = last in patterns
    tested = [*_field_differences(*compared, claims)]
    if excited:
        tested += pattern_rules.excitation_difference_rows(patterns[last], last)
    adjusted = holm_correction(np.array([row.p for row in tested])).tolist()
    tested = [row._replace(p=p) for row, p in zip(tested, adjusted, strict=True)]
    rows = [*_field_rows(*compared, claims, tested, stages)]
    if "P4" in names:
        rows += pattern_rules.decide_pattern_spread(before, after, last)
    if excited:
        own = [row for row in tested if row.claim == "P5"]
        rows += pattern_rules.decide_pattern_excitation(patterns.pop(last), own, last)
        for stage, of_stage in patterns.items():
            rows += pattern_rules.excitation_rows(of_stage, stage)
    return rows


def _field_differences(
    before: Networks, after: Networks, controls: Controls, claims: Sequence[tuple[str, str]]
) -> Iterator[ClaimRow]:
    for claim, stage in claims:
        for background in _backgrounds(after):
            compared = before, after, controls
            if claim == "P3":
                yield from surround_rules.share_difference_rows(*compared, stage, background)
            else:
                yield from change_rules.change_difference_rows(*compared, claim, stage, background)


def _field_rows(
    before: Networks,
    after: Networks,
    controls: Controls,
    claims: Sequence[tuple[str, str]],
    differences: Sequence[ClaimRow],
    stages: Sequence[str],
) -> Iterator[ClaimRow]:
    """Yield the decision of each claim about fields, its differences, and what informs."""
    for claim, stage in claims:
        path = stages[: stages.index(stage) + 1]
        for background in _backgrounds(after):
            place = claim, stage, background
            own = [row for row in differences if (row.claim, row.stage, row.background) == place]
            if claim == "P3":
                decide = surround_rules.decide_centre_surround
                yield from decide(before, after, own, stage, background)
            else:
                decided = change_rules.decide_change(before, after, own, claim, path, background)
                yield from decided
            yield from own
        if claim == "P3":
            yield from suppression_rows(before, after, controls, stage)
        else:
            yield from change_rules.representation_rows(before, after, controls, claim, stage)


def _backgrounds(networks: Networks) -> list[str]:
    return [*dict.fromkeys(key.split("/")[1] for key in networks[0].fields)]


def _patterns(
    before: Networks, after: Networks, controls: Controls
) -> dict[str, pattern_rules.Patterns]:
    """Return the patterns of each stage of all networks; {} if one has none (it is no chain)."""
    groups = {"before": before, "after": after, **controls}
    return {
        stage: {name: [network.patterns[stage] for network in of] for name, of in groups.items()}
        for stage in after[0].patterns
        if all(stage in network.patterns for of in groups.values() for network in of)
    }


def describe_networks(networks: Mapping[str, NetworkMeasurements]) -> list[dict[str, Any]]:
    """Return what each network's stages are worth, as plain values: a row per stage and background.

    Each row has the network, stage, background, median reliability, pairs, cell, why sampling
    stopped, whether fields are whole, the spread of the stage's output, the share of units that
    the rule calls centre-surround, and the rule with its power and false alarms (null without one).
    """
    return [
        {
            "network": name,
            "stage": stage,
            "background": background,
            "reliability": of.median,
            "pairs": of.pairs,
            "cell": of.cell,
            "stopped": of.stopped,
            "whole": of.whole,
            "spread": network.spread[stage],
            "found": share_interval(of.measures["centre_surround"][None]).as_mean()
            if of.rule
            else None,
            "rule": of.rule.as_dict() if of.rule else None,
        }
        for name, network in networks.items()
        for key, of in network.fields.items()
        for stage, background in [key.split("/")]
    ]


def _per_seed(
    name: str, group: NetworkMeasurements | Sequence[NetworkMeasurements], seeds: int
) -> list[NetworkMeasurements]:
    networks = [group] if isinstance(group, NetworkMeasurements) else [*group]
    networks = networks * seeds if len(networks) == 1 else networks
    if not seeds or len(networks) != seeds:
        raise ValueError(
            f"{len(networks)} networks {name!r} and {seeds} after training; give one each per seed"
        )
    return networks


def _validate(before: Networks, after: Networks, controls: Controls, stages: Sequence[str]) -> None:
    if unknown := [stage for stage in after[0].units if stage not in stages]:
        raise ValueError(
            f"the measured stages {unknown} are none of {[*stages]}: give all stages of the "
            "network from the image on, decide_claims(…, stages=[…])"
        )
    named = [("before", before), ("after", after), *controls.items()]
    for name, group in named:
        for measured in group:
            if measured.units != after[0].units or [*measured.fields] != [*after[0].fields]:
                raise ValueError(
                    f"network {name!r} was measured on other stages or units than the first one "
                    "after training: measure all networks on the same units"
                )
