import numpy as np
import pytest

from deepsal.rf.claims.calibration import (
    RIVAL_SHAPES,
    calibrate_rule,
    centre_surround_evidence,
    plant_fields,
    strongest_axis,
)
from deepsal.rf.measures.profile import FloatArray
from deepsal.rf.measures.reliability import split_half_reliability
from tests.rf.claims.support import noisy_blocks, planted, shared_rule


def evidence(shapes: list[str], seed: int) -> FloatArray:
    axis = strongest_axis(noisy_blocks(planted(shapes, seed), seed))
    return centre_surround_evidence(axis.blocks.mean(0))


@pytest.mark.parametrize("shape", RIVAL_SHAPES)
def test_other_shapes_are_rarely_called_centre_surround(shape: str) -> None:
    """One in 40 above the threshold is within the rate; 6 have a chance of 1.4 % at 5 %."""
    assert (evidence([shape] * 40, 11) > shared_rule().threshold).sum() < 6


def test_the_stated_power_is_that_on_new_fields() -> None:
    rule = shared_rule()
    for k in ("0.55", "0.9"):
        found = (evidence([k] * 40, 12) > rule.threshold).mean()
        assert found == pytest.approx(rule.power[k], abs=0.2)
    assert rule.power["0.3"] <= rule.power["0.55"] <= rule.power["0.9"]
    assert rule.false_alarm_rate == max(rule.false_alarms.values())


def test_power_falls_with_noise() -> None:
    noisy = shared_rule(0.06)
    assert noisy.decisive_power < shared_rule().decisive_power
    assert noisy.false_alarm_rate < 0.15


def test_a_rule_repeats_with_its_seed() -> None:
    axis = strongest_axis(noisy_blocks(planted(["gaussian"] * 12, 0), 0))
    first, again = (calibrate_rule(axis, 20, seed=3) for _ in range(2))
    assert first == again
    assert first is not None
    assert first.plantings == 10
    assert first.as_dict()["threshold"] == first.threshold


def test_a_planted_field_has_the_energy_and_the_noise_of_its_stage() -> None:
    axis = strongest_axis(noisy_blocks(planted(["gaussian"] * 40, 0), 0, noise=0.05))
    drawn = plant_fields("gaussian", axis, 300, np.random.default_rng(0))
    noise = 169 * 0.05**2 / 8
    assert axis.energy.mean() == pytest.approx(1, rel=0.1)
    assert np.square(drawn).sum((1, 2)).mean() == pytest.approx(1 + noise, rel=0.1)


def test_a_double_opponent_unit_is_found_on_its_own_axis() -> None:
    fields = planted(["0.9"] * 12, 0)
    fields[:, 1] *= -1
    fields[:, 2] = 0
    axis = strongest_axis(noisy_blocks(fields, 0))
    assert axis.axis.tolist() == [1] * 12
    assert axis.reliable.all()
    assert (centre_surround_evidence(axis.blocks.mean(0)) > shared_rule().threshold).mean() > 0.7


def test_a_stage_without_a_reliable_field_has_no_rule() -> None:
    noise = np.random.default_rng(0).normal(size=(8, 5, 3, 9, 9))
    noise[:, 0] = 0
    axis = strongest_axis(noise)
    assert calibrate_rule(axis) is None
    assert np.isnan(axis.reliability[0])
    assert axis.energy[0] == 0


def test_reliability_is_that_of_the_axis() -> None:
    blocks = noisy_blocks(planted(["gaussian"] * 6, 0), 0, noise=0.1)
    axis = strongest_axis(blocks)
    assert np.allclose(axis.reliability, split_half_reliability(axis.blocks))
    assert (axis.reliability > split_half_reliability(blocks)).all()


def test_a_missing_or_constant_field_has_no_evidence() -> None:
    fields = planted(["0.9"] * 3, 0)[:, 0]
    fields[0], fields[1, 2, 2] = 0, np.nan
    values = centre_surround_evidence(fields)
    assert np.isnan(values[:2]).all()
    assert values[2] > 0


def test_a_field_cut_too_close_has_no_room_for_a_surround() -> None:
    assert shared_rule().room > 0.5
    blocks = noisy_blocks(planted(["gaussian"] * 8, 3), 3)
    middle = blocks.shape[-1] // 2
    cut = blocks[..., middle - 4 : middle + 4, middle - 4 : middle + 4]
    rule = calibrate_rule(strongest_axis(cut), plantings=20)
    assert rule is not None
    assert rule.room < 0.5
