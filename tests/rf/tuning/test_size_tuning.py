import numpy as np
import pytest

from deepsal.rf.tuning import size_tuning

RADIUS = np.geomspace(0.125, 4, 6)


def test_the_larger_component_is_chosen_for_the_whole_unit() -> None:
    dc, f1 = np.array([[3.0, 0.0], [1.0, 1.0]]), np.array([[2.0, 2.0], [0.0, 4.0]])
    assert size_tuning.larger_component(dc, f1).tolist() == [[3, 0], [0, 4]]


def test_a_drifting_response_has_its_amplitude_and_its_mean() -> None:
    phase = np.arange(0.0, 360.0, 45.0)
    responses = 2 + 3 * np.cos(np.deg2rad(phase - 70))
    dc, f1 = size_tuning.phase_response(responses[None, None], np.array([0.5]), phase)
    assert dc.item() == pytest.approx(1.5)
    assert f1.item() == pytest.approx(3)


def test_the_best_grating_is_the_maximum_over_all_axes() -> None:
    amplitude = np.zeros((2, 3, 4, 5))
    amplitude[0, 2, 1, 3] = amplitude[1, 0, 3, 4] = 1
    assert size_tuning.best_grating(amplitude).tolist() == [[2, 1, 3], [0, 3, 4]]


def test_a_unit_without_suppression_has_neither_summation_field_nor_surround() -> None:
    curve = np.array([[0.0, 1.0, 2.0, 2.0, 2.0, 1.9]])
    assert size_tuning.suppression_index(curve) == pytest.approx(0.05)
    assert np.isnan(size_tuning.summation_field(curve, RADIUS)).all()
    assert np.isnan(size_tuning.surround_diameter(curve, RADIUS)).all()


def test_inhibition_below_rest_is_a_suppression_above_one() -> None:
    curve = np.array([[0.0, 2.0, 1.0, -0.9, -1.0, -1.0]])
    assert size_tuning.suppression_index(curve).tolist() == [1.5]
    assert size_tuning.surround_diameter(curve, RADIUS) == pytest.approx(4)  # −1 + .05 < −.9


def test_the_width_of_a_triangle_is_half_its_base_and_orientation_is_circular() -> None:
    angle = np.arange(0.0, 180.0, 30.0)
    triangle = np.maximum(1 - np.abs((angle - 150 + 90) % 180 - 90) / 60, 0)
    assert size_tuning.half_height_width(triangle[None], angle, 180.0) == pytest.approx(60)
    assert np.isnan(size_tuning.half_height_width(triangle[None], angle)).all()
