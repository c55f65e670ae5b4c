from functools import cache
from math import erf, exp, log, pi, sqrt

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from deepsal.rf.tuning.grating_indices import size_tuning_indices
from deepsal.rf.tuning.grating_protocol import GratingProtocol, GratingResponses
from deepsal.rf.tuning.grating_responses import record_grating_responses
from deepsal.rf.tuning.indices import (
    orientation_selectivity,
    preferred_value,
    size_tuning_curve,
    surround_suppression_index,
)
from deepsal.statistics import bootstrap_interval

SIDE = 31
NARROW, WIDE, RATIO = 3.0, 6.0, 0.9
ANGLE, FREQUENCY, ENVELOPE = 60.0, 0.11, 5.0
NAMES = "on", "off", "gaussian", "gabor", "between", "dead"
SCALE = 14.0
PROTOCOL = GratingProtocol(
    pixels_per_degree=SCALE,
    display=5.0,
    frequency=(1.542, 3.084),
    orientation=(0.0, 30.0, 60.0, 90.0, 120.0, 150.0),
    tuning_frequency=tuple(SCALE * np.geomspace(0.02, 0.4, 10)),
    tuning_radius=2.4,
)
RADIUS = SCALE * np.array(PROTOCOL.radius)


def gaussian(sigma: float) -> Tensor:
    at = torch.arange(SIDE, dtype=torch.float64) - SIDE // 2
    return torch.exp(-(at[:, None] ** 2 + at**2) / (2 * sigma**2)) / (2 * pi * sigma**2)


def gabor(angle: float) -> Tensor:
    at, turn = torch.arange(SIDE, dtype=torch.float64) - SIDE // 2, np.deg2rad(angle)
    across = at[:, None] * np.cos(turn) + at * np.sin(turn)
    return gaussian(ENVELOPE) * torch.cos(2 * pi * FREQUENCY * across + 0.7)


@cache
def planted() -> GratingResponses:
    """Linear units with known fields; a bias of −5 silences them."""
    centre_surround = gaussian(NARROW) - RATIO * gaussian(WIDE)
    fields = [centre_surround, -centre_surround, gaussian(NARROW)]
    fields += [gabor(ANGLE), gabor(ANGLE + 15), 0 * centre_surround]
    units = nn.Conv2d(3, len(fields), SIDE, padding=SIDE // 2)
    units.weight.data = torch.stack(fields)[:, None].expand(-1, 3, -1, -1).float().clone()
    units.bias = nn.Parameter(torch.full((len(fields),), -5.0))
    return record_grating_responses(nn.Sequential(units, nn.ReLU()), ["1"], PROTOCOL)["1"]


@cache
def indices() -> dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]]:
    return size_tuning_indices(planted(), rectified=False).index


def measure(name: str, unit: str) -> float:
    return float(indices()[name][NAMES.index(unit)])


def test_size_tuning_of_a_difference_of_gaussians_is_that_of_its_formula() -> None:
    """Disk: (1 − exp(−ρ²/2σc²)) − k(1 − exp(−ρ²/2σs²)), up to the kernel's border."""
    centre, surround = (1 - np.exp(-(RADIUS**2) / (2 * s * s)) for s in (NARROW, WIDE))
    inside = RADIUS < SIDE / 2
    disks = planted().disks - planted().blank[:, None, None]
    curve = size_tuning_curve(disks)[0] / (3 * 0.5)
    assert inside.sum() >= 7
    assert curve[inside] == pytest.approx((centre - RATIO * surround)[inside], abs=0.02)
    crossing = sqrt(2 * log(WIDE**2 / (RATIO * NARROW**2)) / (NARROW**-2 - WIDE**-2))
    peak = (1 - exp(-(crossing**2) / (2 * NARROW**2))) - RATIO * (
        1 - exp(-(crossing**2) / (2 * WIDE**2))
    )
    plateau = 1 - RATIO * erf(SIDE / 2 / (WIDE * sqrt(2))) ** 2
    for unit in ("on", "off"):
        assert measure("disk_ssi", unit) == pytest.approx((peak - plateau) / peak, abs=0.05)


def test_a_gaussian_is_not_suppressed_by_disks() -> None:
    assert measure("disk_ssi", "gaussian") == pytest.approx(0, abs=1e-4)


def test_the_sign_is_that_of_the_centre() -> None:
    assert [measure("on_off", unit) for unit in ("on", "off", "gaussian")] == [1, -1, 1]


def test_a_gabor_has_its_orientation_and_frequency() -> None:
    turn = 1 / (2 * pi * ENVELOPE * FREQUENCY)  # its bandwidth, radians, if small
    step = PROTOCOL.tuning_frequency[1] / PROTOCOL.tuning_frequency[0]
    for unit, angle in (("gabor", ANGLE), ("between", ANGLE + 15)):
        assert measure("orientation", unit) == pytest.approx(angle, abs=1)
        assert 1 - measure("circular_variance", unit) == pytest.approx(exp(-2 * turn**2), abs=0.03)
        assert abs(log(measure("frequency", unit) / SCALE / FREQUENCY)) <= log(step)
    for unit in ("on", "off", "gaussian"):
        assert measure("circular_variance", unit) > 0.95


def test_a_centre_surround_unit_prefers_the_frequency_of_its_formula() -> None:
    power = log(RATIO * WIDE**2 / NARROW**2) / (WIDE**2 - NARROW**2)
    best = sqrt(power / (2 * pi**2))
    step = PROTOCOL.tuning_frequency[1] / PROTOCOL.tuning_frequency[0]
    assert abs(log(measure("frequency", "on") / SCALE / best)) <= log(step)
    assert measure("frequency", "gaussian") == PROTOCOL.tuning_frequency[0]


def test_a_unit_that_nothing_moves_has_no_tuning_and_is_not_counted() -> None:
    for name, values in indices().items():
        assert values.dtype == np.float64
        assert np.isnan(values[NAMES.index("dead")]), name
    assert bootstrap_interval(indices()["disk_ssi"]).count == len(NAMES) - 1


def test_a_unit_that_a_large_disk_inhibits_is_suppressed_beyond_one() -> None:
    disks = np.array([[[0.0, 2.0, -1.0], [0.0, -2.0, 1.0]]])
    assert surround_suppression_index(disks).tolist() == [1.5]


def test_measures_are_blind_to_gain() -> None:
    random = np.random.default_rng(0)
    disks = random.normal(size=(5, 2, 12))
    curve, axis = np.abs(random.normal(size=(5, 6))), np.arange(0.0, 180.0, 30.0)
    assert np.allclose(surround_suppression_index(disks), surround_suppression_index(7 * disks))
    assert np.allclose(
        orientation_selectivity(curve, axis), orientation_selectivity(7 * curve, axis)
    )
    assert np.allclose(preferred_value(curve, axis), preferred_value(7 * curve, axis))
