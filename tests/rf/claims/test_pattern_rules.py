from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from deepsal.rf.claims.measurements import PatternMeasurements
from deepsal.rf.claims.pattern_rules import decide_pattern_excitation, decide_pattern_spread
from deepsal.rf.claims.rules import ClaimRow

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
    (row,) = decide_pattern_spread([drawn(BEFORE)], [wide], "conv5")
    assert (row.claim, row.outcome) == ("P4", "")
    assert "identity" in row.note
    assert (row.reference, row.reference_estimate) == ("before", 1)


def test_a_pattern_that_excites_its_own_unit_alone_supports_both_halves() -> None:
    after = drawn(np.eye(UNITS) + 1)
    rows = measured(decide_pattern_excitation([drawn(BEFORE + 1)] * 2, [after] * 2, "conv5"))
    assert {row.claim for row in rows.values()} == {"P5"}
    assert (rows["own unit"].effect.estimate, rows["own unit"].outcome) == (1, "supported")
    assert rows["own unit"].reference_estimate == 0
    assert (rows["inhibited"].effect.estimate, rows["inhibited"].outcome) == (1, "supported")
    assert [rows[f"over {name}"].effect.estimate for name in ("blank", "others")] == [1, 1]
    assert {rows[name].outcome for name in rows if name.startswith("over ")} == {""}
    back = measured(decide_pattern_excitation([after] * 2, [drawn(BEFORE)] * 2, "conv5"))
    assert back["own unit"].outcome == "not supported"


def test_what_was_so_before_is_not_what_training_did() -> None:
    same = drawn(np.eye(UNITS) + 1)
    rows = measured(decide_pattern_excitation([same] * 2, [same] * 2, "conv5"))
    assert rows["own unit"].outcome == rows["inhibited"].outcome == "undecided"


def test_a_unit_that_noise_or_another_pattern_excites_as_much_does_not_count() -> None:
    after = drawn(np.eye(UNITS) + 1, noise=3.0)
    rows = measured(decide_pattern_excitation([drawn(BEFORE)], [after], "conv5"))
    assert rows["over noise"].effect.estimate == 0
    assert rows["over scrambled"].effect.estimate == 1
    alike = measured(
        decide_pattern_excitation([drawn(BEFORE)], [drawn(np.ones((UNITS, UNITS)))], "conv5")
    )
    assert alike["over others"].effect.estimate == 0


def test_all_that_answers_more_than_to_a_blank_is_not_inhibited() -> None:
    rows = measured(
        decide_pattern_excitation([drawn(BEFORE)] * 2, [drawn(BEFORE, blank=0.0)] * 2, "conv5")
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
    rows = measured(decide_pattern_excitation([after], [after], "conv5"))
    assert rows["own unit"].effect.estimate == rows["over blank"].effect.estimate == 1


def test_a_loud_channel_is_not_preferred_for_being_loud() -> None:
    loud = np.eye(UNITS) + np.where(np.arange(UNITS) == 3, 50.0, 0.0)
    rows = measured(decide_pattern_excitation([drawn(BEFORE)], [drawn(loud)], "conv5"))
    assert rows["own unit"].effect.estimate == 1
    assert rows["own unit"].outcome == "described"
