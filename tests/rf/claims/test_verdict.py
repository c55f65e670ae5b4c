from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, lru_cache
from typing import Any

import numpy as np
import pytest
import torch

from deepsal.rf.claims.measurements import NetworkMeasurements, PatternMeasurements
from deepsal.rf.claims.rules import ClaimRow
from deepsal.rf.claims.verdict import decide_claims, describe_networks
from tests.rf.claims.support import (
    UNITS,
    decide_one_stage,
    network,
    noisy_blocks,
    planted,
    shared_rule,
)

RIVALS = ["gaussian", "gabor", "noise"] * (UNITS // 3)
CONTROLS = ("untrained", "displaced", "shuffled_fixations", "other_task")
Controls = dict[str, NetworkMeasurements | list[NetworkMeasurements]]


def deep(
    shapes: Sequence[str], fields: int, noise: int, weight: float = 1.0
) -> NetworkMeasurements:
    """Return a network of one stage: `fields` seeds its shapes, `noise` their measurement."""
    return measured_once(tuple(shapes), fields, noise, weight)


@lru_cache(16)
def measured_once(
    shapes: tuple[str, ...], fields: int, noise: int, weight: float
) -> NetworkMeasurements:
    blocks = noisy_blocks(planted(shapes, fields), noise)
    return network({"conv5": blocks}, weight, shared_rule())


@cache
def controls() -> Controls:
    return {name: deep(RIVALS, 0, 50 + i, 2.0) for i, name in enumerate(CONTROLS)}


def row(rows: list[ClaimRow], claim: str, measure: str, reference: str = "") -> ClaimRow:
    (match,) = (r for r in rows if (r.claim, r.measure, r.reference) == (claim, measure, reference))
    return match


def verdict_on(shapes: list[str], seed: int) -> list[ClaimRow]:
    """Decide two seeds of a network whose fields take these shapes in training."""
    after = [deep(shapes, 100 + seed, 1000 + 2 * seed + i, 2.0) for i in range(2)]
    return decide_one_stage(deep(RIVALS, 0, 1), after, controls())


def share(k: str, part: float) -> list[str]:
    count = round(part * UNITS)
    return [k] * count + RIVALS[: UNITS - count]


def check_shares(seeds: range) -> None:
    """Plant all, no and half of the units, and count wrong verdicts."""
    wrong, inside = 0, 0
    for seed in seeds:
        outcomes = {
            "all .55": row(verdict_on(share("0.55", 1), seed), "P3", "share").outcome,
            "all .9": row(verdict_on(share("0.9", 1), seed), "P3", "share").outcome,
            "none": row(verdict_on(RIVALS, seed), "P3", "share").outcome,
        }
        wrong += outcomes["all .55"] != "supported"
        wrong += outcomes["all .9"] != "supported"
        wrong += outcomes["none"] not in ("not supported", "undecided")
        half = row(verdict_on(share("0.9", 0.5), seed), "P3", "share").effect
        inside += half.low <= 0.5 <= half.high
    assert wrong <= 0.05 * 3 * len(seeds)
    assert inside >= 0.95 * len(seeds)


def test_planted_shares_get_their_verdict() -> None:
    assert shared_rule().decisive_power >= 0.8
    check_shares(range(1))


@pytest.mark.slow
def test_twenty_plantings_of_each_share_get_their_verdict() -> None:
    check_shares(range(20))


def count_null_verdicts(seeds: range) -> int:
    """Return how many of the networks that did not change have a supported claim."""
    supported = 0
    for seed in seeds:
        fields = share("0.9", 0.5)
        after = [deep(fields, 3, 2000 + 3 * seed + i) for i in range(2)]
        rows = decide_one_stage(deep(fields, 3, 2002 + 3 * seed), after, controls())
        supported += any(r.outcome == "supported" for r in rows)
    return supported


def test_other_noise_alone_supports_no_claim() -> None:
    assert count_null_verdicts(range(1)) == 0


@pytest.mark.slow
def test_other_noise_alone_supports_no_claim_in_forty_seeds() -> None:
    assert count_null_verdicts(range(40)) <= 2


def without_fields(measured: NetworkMeasurements, units: int) -> NetworkMeasurements:
    """Return the network with its first units not determined."""
    of = measured.fields["conv5/natural"]
    called = np.where(np.arange(UNITS) < units, np.nan, of.measures["centre_surround"])
    measures = {**of.measures, "centre_surround": called}
    return replace(measured, fields={"conv5/natural": replace(of, measures=measures)})


def test_a_share_is_stated_with_its_power_and_what_was_left_out() -> None:
    after = [deep(share("0.9", 1), 101, seed, 2.0) for seed in (1, 2)]
    after = [without_fields(measured, 2) for measured in after]
    rows = decide_one_stage(deep(RIVALS, 0, 1), after, controls())
    decided, found = row(rows, "P3", "share"), row(rows, "P3", "found")
    assert decided.effect.count == found.effect.count == UNITS - 2
    assert f"2 of {UNITS} units left out" in decided.note
    assert "power" in decided.note
    assert found.effect.low < found.effect.estimate <= found.effect.high
    before = row(rows, "P3", "more than", "before")
    assert before.effect.low > 0
    assert before.p < 0.05


def test_a_share_that_a_control_has_too_is_not_what_fixations_did() -> None:
    also = {**controls(), "shuffled_fixations": deep(share("0.9", 1), 101, 9, 2.0)}
    after = [deep(share("0.9", 1), 101, seed, 2.0) for seed in (1, 2)]
    decided = row(decide_one_stage(deep(RIVALS, 0, 1), after, also), "P3", "share")
    assert decided.outcome in ("not supported", "undecided")
    assert "shuffled_fixations" in decided.note


def test_one_seed_describes_a_network() -> None:
    rows = decide_one_stage(deep(RIVALS, 0, 1), deep(share("0.9", 1), 101, 1, 2.0), controls())
    decided = row(rows, "P3", "share")
    assert decided.outcome == "described"
    assert decided.note.startswith("this network: supported; two seeds or more")
    assert "supported" not in {r.outcome for r in rows}


def test_what_hardly_changed_and_what_did_is_told_apart() -> None:
    changed = [deep(["noise"] * UNITS, 200, seed, 2.0) for seed in (1, 2)]
    rows = decide_one_stage(deep(RIVALS, 0, 3), changed, controls())
    assert row(rows, "P1", "similarity").outcome == "not supported"
    assert row(rows, "P2", "similarity").outcome == "supported"
    assert row(rows, "P2", "more change than", "shuffled_fixations").effect.low > 0
    assert row(rows, "P2", "noise ceiling").effect.estimate > 0.9
    same = [deep(RIVALS, 0, seed, 2.0) for seed in (1, 2)]
    rows = decide_one_stage(deep(RIVALS, 0, 3), same, controls())
    assert row(rows, "P1", "similarity").outcome == "supported"
    assert row(rows, "P2", "similarity").outcome == "not supported"


def test_a_change_that_shuffled_fixations_make_too_is_not_supported() -> None:
    changed = [deep(["noise"] * UNITS, 200, seed, 2.0) for seed in (1, 2)]
    also = {**controls(), "shuffled_fixations": deep(["noise"] * UNITS, 201, 4, 2.0)}
    decided = row(decide_one_stage(deep(RIVALS, 0, 3), changed, also), "P2", "similarity")
    assert decided.outcome != "supported"
    assert "shuffled_fixations" in decided.note


def test_without_the_trained_controls_a_change_is_undecided() -> None:
    changed = [deep(["noise"] * UNITS, 200, seed, 2.0) for seed in (1, 2)]
    given = {name: of for name, of in controls().items() if name in ("untrained", "displaced")}
    decided = row(decide_one_stage(deep(RIVALS, 0, 3), changed, given), "P2", "similarity")
    assert decided.outcome == "undecided"
    assert "shuffled_fixations, other_task" in decided.note


def test_a_stage_that_training_left_is_not_tested() -> None:
    rows = decide_one_stage(deep(RIVALS, 0, 1), [deep(RIVALS, 0, 2)] * 2, controls())
    decided = row(rows, "P1", "similarity")
    assert decided.outcome == ""
    assert "changed nothing" in decided.note


@pytest.mark.parametrize("claim", ["P1", "P3"])
def test_unreliable_fields_are_undecided_and_the_pairs_are_named(claim: str) -> None:
    def noise(seed: int) -> NetworkMeasurements:
        blocks = noisy_blocks(planted(RIVALS, 0), seed, noise=0.5)
        return network({"conv5": blocks}, weight=float(seed))

    rows = decide_one_stage(noise(1), [noise(2), noise(3)], {"untrained": noise(4)})
    decided = row(rows, claim, "similarity" if claim == "P1" else "share")
    assert decided.outcome == "undecided"
    assert "1024 pairs" in decided.note or "no unit has a reliable field" in decided.note


def test_displacement_and_cka_inform() -> None:
    rows = decide_one_stage(deep(RIVALS, 0, 1), [deep(RIVALS, 0, 2, 1.5)] * 2, controls())
    assert row(rows, "P1", "displacement").effect.estimate == pytest.approx(0.5)
    assert row(rows, "P1", "displacement", "untrained").reference_estimate == pytest.approx(1.0)
    assert row(rows, "P1", "cka").effect.estimate == pytest.approx(1)
    assert row(rows, "P1", "cka").note == "n = 90 positions of the images"


def excitation_patterns() -> PatternMeasurements:
    return PatternMeasurements(
        units=[*range(UNITS)],
        pattern=np.zeros((UNITS, 3, 2, 2), np.float32),
        reinjected_responses=np.eye(UNITS),
        reference_responses={n: np.ones((UNITS, UNITS)) for n in ("blank", "noise", "scrambled")},
    )


def test_patterns_are_judged_where_all_networks_have_them() -> None:
    patterns = excitation_patterns()
    measured: dict[str, Any] = {
        "patterns": {"conv5": patterns},
        "pattern_spread": {"conv5": np.ones(UNITS)},
    }
    before, after = (replace(deep(RIVALS, 0, i, i), **measured) for i in (1, 2))
    others = {"untrained": replace(after)}
    rows = decide_one_stage(before, after, others)
    assert {r.claim for r in rows} == {"P1", "P2", "P3", "P4", "P5"}
    assert row(rows, "P4", "spread", "before").outcome == ""
    assert "identity" in row(rows, "P4", "spread", "before").note
    assert row(rows, "P5", "more inhibited than", "untrained").p == 1
    (spread,) = decide_one_stage(before, after, others, ["P4"])
    assert spread == row(rows, "P4", "spread", "before")
    bare, tuned = (replace(network, fields={}) for network in (before, after))
    assert {r.claim for r in decide_one_stage(bare, tuned, {}, ["P5"])} == {"P5"}
    assert {r.claim for r in decide_one_stage(before, after, others, ["P2"])} == {"P2"}
    for less, decided in (
        ({"before": deep(RIVALS, 0, 1)}, set()),
        ({"controls": controls()}, {"P4"}),
    ):
        networks: dict[str, Any] = {"before": before, "after": after, "controls": others, **less}
        rows = decide_one_stage(**networks)
        assert {r.claim for r in rows} & {"P4", "P5"} == decided


@pytest.mark.parametrize(
    ("stages", "expected"),
    [
        (["conv5"], {("P2", "conv5"), ("P3", "conv5"), ("P4", "conv5"), ("P5", "conv5")}),
        (["conv4"], {("P2", "conv4"), ("P3", "conv4")}),
        (["conv3"], {("P1", "conv3")}),
        (
            ["conv1", "conv5"],
            {("P1", "conv1"), *((claim, "conv5") for claim in ("P2", "P3", "P4", "P5"))}
            | {("P5", "conv1")},
        ),
    ],
)
def test_a_stage_is_judged_by_its_place_among_all_stages(
    stages: list[str], expected: set[tuple[str, str]]
) -> None:
    blocks = noisy_blocks(planted(RIVALS, 0), 1)
    of = dict.fromkeys(stages, excitation_patterns())
    measured: dict[str, Any] = {
        "patterns": of,
        "pattern_spread": dict.fromkeys(stages, np.ones(UNITS)),
    }
    before, after = (network(dict.fromkeys(stages, blocks), w, **measured) for w in (1.0, 2.0))
    rows = decide_claims(before, after, {"untrained": after})
    assert {(row.claim, row.stage) for row in rows} == expected


def test_a_later_stage_was_tuned_where_an_unmeasured_earlier_one_was() -> None:
    before, after = deep(RIVALS, 0, 1), deep(RIVALS, 0, 2)
    start, end = (
        replace(of, weights={**of.weights, "conv4.weight": torch.full((2,), i)})
        for i, of in enumerate((before, after))
    )
    decided = row(decide_claims(start, end, {}), "P2", "similarity")
    assert decided.outcome == "described"
    assert "changed nothing" not in decided.note


def test_p_values_are_corrected_over_all_differences() -> None:
    rows = decide_one_stage(deep(RIVALS, 0, 1), [deep(RIVALS, 0, 2, 2.0)] * 2, controls())
    tested = [r for r in rows if np.isfinite(r.p)]
    assert {r.measure for r in tested} == {"more change than", "more than"}
    assert {r.claim for r in tested} == {"P2", "P3"}
    assert len(tested) == 2 * len(CONTROLS) + 1


def test_networks_are_described_with_power_and_spread() -> None:
    (described,) = describe_networks({"tuned": deep(RIVALS, 0, 1)})
    assert (described["network"], described["stage"], described["background"]) == (
        "tuned",
        "conv5",
        "natural",
    )
    assert described["spread"] == 1.0
    assert set(described["rule"]["power"]) == {"0.3", "0.55", "0.9"}
    assert described["found"]["count"] == UNITS


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda a, c: decide_one_stage(a, [a, a], {"displaced": [a] * 3}),
            "3 networks 'displaced'",
        ),
        (lambda a, c: decide_claims(a, a, {}, stages=["conv1"]), r"\['conv5'\] are none of"),
        (lambda a, c: decide_one_stage([a] * 2, [a] * 3, {}), "2 networks 'before' and 3 after"),
        (
            lambda a, c: decide_one_stage(a, a, {"untrained": c}),
            "'untrained' was measured on other",
        ),
    ],
)
def test_measurements_that_do_not_belong_together_are_refused(
    call: Callable[..., object], message: str
) -> None:
    one = deep(RIVALS, 0, 1)
    with pytest.raises(ValueError, match=message):
        call(one, replace(one, units={"conv5": [0]}))
