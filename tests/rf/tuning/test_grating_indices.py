from functools import cache

import numpy as np
import pytest

from deepsal.rf.tuning.grating_indices import (
    SizeTuningIndices,
    is_responsive,
    size_tuning_indices,
)
from deepsal.rf.tuning.grating_protocol import GratingResponses
from deepsal.rf.tuning.grating_responses import record_grating_responses
from tests.rf.tuning.support import (
    CENTRES,
    NAMES,
    PROTOCOL,
    RING,
    SUPPRESSION,
    PlantedSurrounds,
)

SHIFT = 3.3, -5.7
STEP = np.sqrt(2) * 1.001


@cache
def planted() -> GratingResponses:
    network = PlantedSurrounds(SHIFT)
    return record_grating_responses(network, ["units"], PROTOCOL, surround=True)["units"]


@cache
def indices() -> SizeTuningIndices:
    return size_tuning_indices(planted())


def test_planted_surrounds_have_their_suppression_and_sizes() -> None:
    index = indices().index
    assert index["ssi"][:6] == pytest.approx(np.array(SUPPRESSION), abs=0.05)
    sizes = np.tile(2 * np.array(CENTRES), 2)
    for name, expected in {
        "summation_field": sizes,
        "surround_diameter": sizes * RING[1],
        "surround_ratio": np.full(6, RING[1]),
    }.items():
        error = np.abs(np.log(index[name][:6] / expected))
        assert error.max() <= np.log(STEP), (name, index[name])
    assert index["iso_suppression"][:6] == pytest.approx(index["ssi"][:6], abs=0.02)
    assert np.abs(index["ortho_suppression"][:6]).max() < 0.05
    assert index["annulus_response"].max() < 0.1
    assert index["contrast_exponent"][:3] == pytest.approx(1, abs=0.02)


def test_disks_take_a_band_pass_filter_for_a_surround_and_gratings_do_not() -> None:
    unit = NAMES.index("band-pass")
    assert indices().index["disk_ssi"][unit] >= 0.9
    assert indices().index["ssi"][unit] < 0.1
    assert indices().index["ssi"][NAMES.index("energy")] < 0.1


def test_energy_is_complex_and_a_rectified_filter_is_simple() -> None:
    modulation = indices().index["modulation"]
    assert modulation[NAMES.index("band-pass")] == pytest.approx(np.pi / 2, abs=0.1)
    assert modulation[NAMES.index("energy")] < 0.1


def test_orientation_and_frequency_are_those_of_the_filter() -> None:
    assert indices().index["orientation"] == pytest.approx(90)
    assert indices().index["frequency"] == pytest.approx(3.084)
    assert indices().index["circular_variance"].max() < 0.05


def test_fields_are_measured_where_they_were_planted() -> None:
    scale = PROTOCOL.pixels_per_degree
    pooled = [*range(6), NAMES.index("energy")]
    assert planted().field_centre[pooled] * scale == pytest.approx(np.tile(SHIFT, (7, 1)), abs=0.2)
    assert indices().centred[pooled].all()


def test_errors_are_half_the_difference_of_halves_of_the_phases() -> None:
    assert set(indices().error) == set(indices().index)
    for name in ("ssi", "iso_suppression", "low_contrast_suppression", "contrast_exponent"):
        assert indices().error[name][:6].max() < 0.01, name
    assert indices().error["modulation"][NAMES.index("band-pass")] > 0.01


def test_before_the_rectifier_a_linear_filter_has_no_mean_response() -> None:
    unit = NAMES.index("band-pass")
    linear = size_tuning_indices(planted(), rectified=False)
    assert not linear.index["modulation"][unit] < 100  # NaN or large: DC is 0
    assert linear.index["ssi"][unit] < 0.1


def test_a_silent_unit_has_no_index_and_is_counted() -> None:
    fields = {**vars(planted())}
    for name in ("gratings", "tuning", "disks", "surround"):
        fields[name] = fields[name].copy()
        fields[name][0] = planted().blank[0]
    silent = size_tuning_indices(GratingResponses(**fields))
    assert silent.silent == indices().silent + 1
    assert not silent.responsive[0]
    for name in ("ssi", "summation_field", "frequency", "circular_variance", "iso_suppression"):
        assert np.isnan(silent.index[name][0]), name


def test_rates_are_those_of_an_affine_map_of_the_medians() -> None:
    maximum, grey = np.array([1.0, 10.0, 12.0, 0.5]), np.full(4, 0.5)
    assert is_responsive(maximum, grey).tolist() == [False, True, True, False]  # 2.6, 33.8, 40.7
    assert not is_responsive(np.zeros(3), np.zeros(3)).any()
