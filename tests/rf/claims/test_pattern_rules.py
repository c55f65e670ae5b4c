from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from deepsal.rf.claims.measurements import PatternMeasurements, measure_network
from deepsal.rf.claims.pattern_rules import (
    PATTERN_RIVALS,
    decide_pattern_excitation,
    decide_pattern_spread,
    excitation_difference_rows,
    excitation_rows,
)
from deepsal.rf.claims.rules import ClaimRow
from tests.rf.claims.support import network, noisy_blocks, planted

UNITS = 20
BEFORE = np.eye(UNITS)[::-1] + 1.0


def drawn(reinjected: Any, **reference: float) -> PatternMeasurements:
    values = {"blank": 1.5, "noise": 1.5, "scrambled": 1.5} | reference
    return PatternMeasurements(
        units=[*range(UNITS)],
        pattern=np.zeros((UNITS, 3, 2, 2), np.float32),
        reinjected_responses=np.asarray(reinjected, dtype=float),
        reference_responses={n: np.full((UNITS, UNITS), value) for n, value in values.items()},
    )


def measured(
    before: PatternMeasurements,
    after: PatternMeasurements,
    controls: Mapping[str, PatternMeasurements] | None = None,
    seeds: int = 2,
) -> dict[str, ClaimRow]:
    """Return the decided rows of P5, and the differences to each network by its name."""
    groups = {"before": before, "after": after, **(controls or {})}
    patterns = {name: [of] * seeds for name, of in groups.items()}
    differences = [*excitation_difference_rows(patterns, "conv5")]
    rows = [*decide_pattern_excitation(patterns, differences, "conv5")]
    assert [row for row in rows if row.p == row.p] == differences
    return {
        f"{row.measure} {row.reference}" if row in differences else row.measure: row for row in rows
    }


def controls(patterns: PatternMeasurements) -> dict[str, PatternMeasurements]:
    return {name: patterns for name in PATTERN_RIVALS if name != "before"}


def test_the_spread_of_a_pattern_is_an_identity_and_decides_nothing() -> None:
    blocks = {"conv5": noisy_blocks(planted(["0.9"] * UNITS, 0), 1)}
    start, wide = (
        network(blocks, pattern_spread={"conv5": np.linspace(1, end, UNITS)}) for end in (1, 2)
    )
    (row,) = decide_pattern_spread([start], [wide], "conv5")
    assert (row.claim, row.outcome) == ("P4", "")
    assert "identity" in row.note
    assert (row.reference, row.reference_estimate) == ("before", 1)


def test_a_pattern_that_excites_its_own_unit_alone_supports_both_halves() -> None:
    before, after = drawn(BEFORE + 1), drawn(np.eye(UNITS) + 1)
    rows = measured(before, after, controls(before))
    assert {row.claim for row in rows.values()} == {"P5"}
    assert (rows["own unit"].effect.estimate, rows["own unit"].outcome) == (1, "supported")
    assert rows["own unit"].effect.low < 0.9, "never narrower than the exact interval of 20 units"
    assert rows["more own unit than before"].reference_estimate == 0
    assert (rows["inhibited"].effect.estimate, rows["inhibited"].outcome) == (1, "supported")
    assert [rows[f"over {name}"].effect.estimate for name in ("blank", "others")] == [1, 1]
    assert {rows[name].outcome for name in rows if name.startswith("over ")} == {""}
    assert measured(after, drawn(BEFORE))["own unit"].outcome == "not supported"


def test_without_a_control_nothing_is_supported_and_the_note_names_it() -> None:
    before, after = drawn(BEFORE + 1), drawn(np.eye(UNITS) + 1)
    some = controls(before)
    del some["untrained"], some["other_task"]
    row = measured(before, after, some)["own unit"]
    assert row.outcome == "undecided"
    assert row.note == "controls that would decide: untrained, other_task"


def test_what_was_so_before_or_is_so_in_a_control_is_not_what_training_did() -> None:
    same, other = drawn(np.eye(UNITS) + 1), drawn(BEFORE + 1)
    rows = measured(same, same, controls(other))
    assert rows["own unit"].outcome == rows["inhibited"].outcome == "not supported"
    assert rows["own unit"].note == "no more than before"
    rows = measured(other, same, controls(other) | {"shuffled_fixations": same})
    assert rows["own unit"].outcome == rows["inhibited"].outcome == "not supported"
    assert rows["own unit"].note == "no more than shuffled_fixations"


def test_a_unit_that_noise_or_another_pattern_excites_as_much_does_not_count() -> None:
    rows = measured(drawn(BEFORE), drawn(np.eye(UNITS) + 1, noise=3.0))
    assert rows["over noise"].effect.estimate == 0
    assert rows["over scrambled"].effect.estimate == 1
    alike = measured(drawn(BEFORE), drawn(np.ones((UNITS, UNITS))))
    assert alike["over others"].effect.estimate == 0


def test_all_that_answers_more_than_to_a_blank_is_not_inhibited() -> None:
    rows = measured(drawn(BEFORE), drawn(BEFORE, blank=0.0))
    assert (rows["inhibited"].effect.estimate, rows["inhibited"].outcome) == (0, "not supported")


def test_units_are_channels_of_the_map() -> None:
    after = replace(
        drawn(np.eye(UNITS)[:8, ::-1] + 1),
        units=[19, 18, 17, 16, 15, 14, 13, 12],
        reference_responses={
            name: np.full((8, UNITS), 1.5) for name in ("blank", "noise", "scrambled")
        },
    )
    rows = measured(after, after)
    assert rows["own unit"].effect.estimate == rows["over blank"].effect.estimate == 1


@pytest.mark.parametrize("count", [1, 2])
def test_two_patterns_do_not_show_which_of_them_a_unit_prefers(count: int) -> None:
    responses = np.eye(UNITS)[:count] + 1
    few = replace(
        drawn(responses),
        units=[*range(count)],
        reference_responses={"blank": np.full((count, UNITS), 1.5)},
    )
    rows = [*excitation_rows({"before": [few], "after": [few]}, "conv5")]
    assert [np.isnan(row.effect.estimate) for row in rows] == [True, False]
    assert [np.isnan(row.reference_estimate) for row in rows] == [True, False]


def test_the_note_of_an_undecided_share_states_what_would_decide() -> None:
    some = drawn(np.where(np.arange(UNITS)[:, None] < UNITS // 2, np.eye(UNITS) + 1, BEFORE))
    row = measured(drawn(BEFORE), some)["own unit"]
    assert (row.outcome, row.note) == ("undecided", "more seeds would decide")


def test_a_loud_channel_is_not_preferred_for_being_loud() -> None:
    loud = drawn(np.eye(UNITS) + np.where(np.arange(UNITS) == 3, 50.0, 0.0))
    rows = measured(drawn(BEFORE), loud, controls(drawn(BEFORE)), seeds=1)
    assert rows["own unit"].effect.estimate == 1
    assert rows["own unit"].outcome == "described"


def grating_filters() -> torch.Tensor:
    """Return filters of 20 units, (20, 3, 15, 15): two wavelengths, two colours, five angles."""
    y, x = np.mgrid[-7:8, -7:8]
    window = np.exp(-(x**2 + y**2) / 32)
    filters = []
    for wavelength, colour in product((4, 8), ((1, 0, 0), (0, 0, 1))):
        for angle in np.pi * np.arange(5) / 5:
            phase = 2 * np.pi / wavelength * (x * np.cos(angle) + y * np.sin(angle))
            grating = window * (np.cos(phase) - (window * np.cos(phase)).sum() / window.sum())
            filters.append(np.multiply.outer(colour, grating))
    return torch.tensor(np.array(filters), dtype=torch.float32)


def test_planted_preferences_are_found_and_patterns_of_other_units_are_none() -> None:
    """Units whose filters differ in form prefer their own pattern; a shuffle has none of it."""
    convolution = nn.Conv2d(3, UNITS, 15, padding=7, bias=False)
    convolution.weight.data = grating_filters()
    stage = nn.Sequential(convolution, nn.ReLU())
    network, chain = nn.Sequential(stage), [stage, nn.MaxPool2d(2)]
    shown, units = torch.rand(2, 3, 48, 48), {"0": range(UNITS)}
    planted = measure_network(network, units, shown, chain=chain, backgrounds=[]).patterns["0"]
    others = replace(planted, reinjected_responses=planted.reinjected_responses[:, ::-1])
    own, _ = excitation_rows({"before": [others], "after": [planted]}, "0")
    assert (own.measure, own.effect.estimate, own.reference_estimate) == ("own unit", 1, 0)
