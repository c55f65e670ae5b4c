from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from deepsal.rf.claims import rules
from deepsal.rf.claims.measurements import PatternMeasurements
from deepsal.rf.claims.rules import (
    ClaimRow,
    corrected_share,
    share_interval,
    threshold_outcome,
)
from deepsal.statistics import Interval
from tests.rf.claims.support import network, noisy_blocks, planted

UNITS = 20
BEFORE = np.eye(UNITS)[::-1] + 1.0


def drawn(reinjected: Any, spread: Any = 1.0, **reference: float) -> PatternMeasurements:
    values = {"blank": 1.5, "noise": 1.5, "scrambled": 1.5} | reference
    return PatternMeasurements(
        units=[*range(UNITS)],
        pattern=np.zeros((UNITS, 3, 2, 2), np.float32),
        spread=np.broadcast_to(np.asarray(spread, dtype=float), UNITS).copy(),
        reinjected_responses=np.asarray(reinjected, dtype=float),
        reference_responses={n: np.full((UNITS, UNITS), value) for n, value in values.items()},
    )


def measured(rows: Iterator[ClaimRow]) -> dict[str, ClaimRow]:
    return {row.measure: row for row in rows}


def test_the_spread_of_a_pattern_is_an_identity_and_decides_nothing() -> None:
    wide = drawn(BEFORE, np.linspace(1.5, 2, UNITS))
    (row,) = rules.decide_pattern_spread([drawn(BEFORE)], [wide], "conv5")
    assert (row.claim, row.outcome) == ("P4", "")
    assert "identity" in row.note
    assert (row.reference, row.reference_estimate) == ("before", 1)


def test_a_pattern_that_excites_its_own_unit_alone_supports_both_halves() -> None:
    after = drawn(np.eye(UNITS) + 1)
    rows = measured(rules.decide_pattern_excitation([drawn(BEFORE + 1)] * 2, [after] * 2, "conv5"))
    assert {row.claim for row in rows.values()} == {"P5"}
    assert (rows["own unit"].effect.estimate, rows["own unit"].outcome) == (1, "supported")
    assert rows["own unit"].reference_estimate == 0
    assert (rows["inhibited"].effect.estimate, rows["inhibited"].outcome) == (1, "supported")
    assert [rows[f"over {name}"].effect.estimate for name in ("blank", "others")] == [1, 1]
    assert {rows[name].outcome for name in rows if name.startswith("over ")} == {""}
    back = measured(rules.decide_pattern_excitation([after] * 2, [drawn(BEFORE)] * 2, "conv5"))
    assert back["own unit"].outcome == "not supported"


def test_what_was_so_before_is_not_what_training_did() -> None:
    same = drawn(np.eye(UNITS) + 1)
    rows = measured(rules.decide_pattern_excitation([same] * 2, [same] * 2, "conv5"))
    assert rows["own unit"].outcome == rows["inhibited"].outcome == "undecided"


def test_a_unit_that_noise_or_another_pattern_excites_as_much_does_not_count() -> None:
    after = drawn(np.eye(UNITS) + 1, noise=3.0)
    rows = measured(rules.decide_pattern_excitation([drawn(BEFORE)], [after], "conv5"))
    assert rows["over noise"].effect.estimate == 0
    assert rows["over scrambled"].effect.estimate == 1
    alike = measured(
        rules.decide_pattern_excitation([drawn(BEFORE)], [drawn(np.ones((UNITS, UNITS)))], "conv5")
    )
    assert alike["over others"].effect.estimate == 0


def test_all_that_answers_more_than_to_a_blank_is_not_inhibited() -> None:
    rows = measured(
        rules.decide_pattern_excitation(
            [drawn(BEFORE)] * 2, [drawn(BEFORE, blank=0.0)] * 2, "conv5"
        )
    )
    assert (rows["inhibited"].effect.estimate, rows["inhibited"].outcome) == (0, "not supported")


def test_units_are_channels_of_the_map() -> None:
    after = replace(
        drawn(np.eye(UNITS)[:8, ::-1] + 1),
        units=[19, 18, 17, 16, 15, 14, 13, 12],
        reference_responses={
            name: np.full((8, UNITS), 1.5) for name in ("blank", "noise", "scrambled")
        },
    )
    rows = measured(rules.decide_pattern_excitation([after], [after], "conv5"))
    assert rows["own unit"].effect.estimate == rows["over blank"].effect.estimate == 1


@pytest.mark.parametrize(
    ("low", "high", "sign", "outcome"),
    [
        (0.6, 0.9, 1, "supported"),
        (0.5, 0.9, 1, "supported"),
        (0.4, 0.9, 1, "undecided"),
        (0.1, 0.4, 1, "not supported"),
        (0.1, 0.4, -1, "supported"),
        (0.6, 0.9, -1, "not supported"),
        (np.nan, np.nan, 1, "undecided"),
    ],
)
def test_an_interval_lies_on_a_side_of_a_threshold_or_across_it(
    low: float, high: float, sign: int, outcome: str
) -> None:
    assert threshold_outcome(Interval(0.5, low, high, 20), 0.5, sign) == outcome


def test_a_loud_channel_is_not_preferred_for_being_loud() -> None:
    loud = np.eye(UNITS) + np.where(np.arange(UNITS) == 3, 50.0, 0.0)
    rows = measured(rules.decide_pattern_excitation([drawn(BEFORE)], [drawn(loud)], "conv5"))
    assert rows["own unit"].effect.estimate == 1
    assert rows["own unit"].outcome == "described"


def test_a_share_of_none_has_an_exact_interval_and_seeds_never_narrow_it() -> None:
    none = np.zeros((1, 32))
    assert share_interval(none)[:4] == pytest.approx((0, 0, 0.109, 32), abs=1e-3)
    assert share_interval(np.zeros((3, 32))).high == pytest.approx(0.109, abs=1e-3)
    assert share_interval(np.full((2, 5), np.nan)).count == 0


def test_a_share_is_corrected_for_what_the_rule_misses() -> None:
    found = Interval(0.45, 0.3, 0.6, 40)
    corrected = corrected_share(found, 0.05, 0.8)
    assert corrected.estimate == pytest.approx(0.4 / 0.75)
    assert corrected.low < 0.3
    assert corrected.high == pytest.approx(0.75)
    blind = corrected_share(found, 0.05, 0.05)
    assert (blind.low, blind.high) == (0, 1)
    assert np.isnan(blind.estimate)


def test_noise_is_taken_out_of_a_similarity_and_its_ceiling_is_stated() -> None:
    fields = planted(["gaussian", "0.9"] * 6, 0)
    one, other = (network({"conv5": noisy_blocks(fields, seed, 0.1)}) for seed in (1, 2))
    of = rules.field_similarities([one], [other], "conv5/natural")
    assert of.ceiling.max() < 0.8
    interval = of.median().interval
    assert interval.low < 1 < interval.high
    assert interval.count == 12
