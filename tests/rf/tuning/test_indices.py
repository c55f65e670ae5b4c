from functools import cache
from math import erf, exp, log, pi, sqrt

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from deepsal.rf.tuning.battery import BatteryResponses, record_responses
from deepsal.rf.tuning.indices import (
    colour_opponency_index,
    orientation_selectivity,
    preferred_value,
    size_tuning_curve,
    surround_suppression_index,
    tuning_indices,
)
from deepsal.statistics import bootstrap_interval

SIDE = 31
NARROW, WIDE, RATIO = 3.0, 6.0, 0.9
ANGLE, FREQUENCY, ENVELOPE = 60.0, 0.11, 5.0
NAMES = "on", "off", "gaussian", "gabor", "between", "red-green", "blue-yellow", "red", "dead"


def gaussian(sigma: float) -> Tensor:
    at = torch.arange(SIDE, dtype=torch.float64) - SIDE // 2
    return torch.exp(-(at[:, None] ** 2 + at**2) / (2 * sigma**2)) / (2 * pi * sigma**2)


def gabor(angle: float) -> Tensor:
    at, turn = torch.arange(SIDE, dtype=torch.float64) - SIDE // 2, np.deg2rad(angle)
    across = at[:, None] * np.cos(turn) + at * np.sin(turn)
    return gaussian(ENVELOPE) * torch.cos(2 * pi * FREQUENCY * across + 0.7)


@cache
def planted() -> BatteryResponses:
    """Units with known fields; a bias of −5 silences them."""
    centre_surround = gaussian(NARROW) - RATIO * gaussian(WIDE)
    fields = {
        "on": (centre_surround, (1, 1, 1)),
        "off": (-centre_surround, (1, 1, 1)),
        "gaussian": (gaussian(NARROW), (1, 1, 1)),
        "gabor": (gabor(ANGLE), (1, 1, 1)),
        "between": (gabor(ANGLE + 15), (1, 1, 1)),
        "red-green": (gaussian(NARROW), (1, -1, 0)),
        "blue-yellow": (gaussian(NARROW), (-0.1, -0.2, 0.3)),
        "red": (gaussian(NARROW), (1, 0, 0)),
        "dead": (0 * centre_surround, (1, 1, 1)),
    }
    units = nn.Conv2d(3, len(fields), SIDE, padding=SIDE // 2)
    units.weight.data = torch.stack(
        [torch.tensor(colour)[:, None, None] * w for w, colour in fields.values()]
    ).float()
    bias = [0.0 if name == "blue-yellow" else -5.0 for name in fields]  # 0 shows round-off
    units.bias = nn.Parameter(torch.tensor(bias))
    return record_responses(nn.Sequential(units, nn.ReLU()), ["1"], (64, 72))["1"]


def measure(name: str, unit: str) -> float:
    return float(tuning_indices(planted())[name][NAMES.index(unit)])


def step(axis: str) -> float:
    """How far apart neighbours on a logarithmic axis are, as a factor."""
    values = getattr(planted().battery, axis)
    return float(values[1] / values[0])


def test_size_tuning_of_a_difference_of_gaussians_is_that_of_its_formula() -> None:
    """Disk: (1 − exp(−ρ²/2σc²)) − k(1 − exp(−ρ²/2σs²)), up to the kernel's border."""
    radius = planted().battery.radius
    centre, surround = (1 - np.exp(-(radius**2) / (2 * s * s)) for s in (NARROW, WIDE))
    inside = radius < SIDE / 2
    curve = size_tuning_curve(planted().disks)[0] / (3 * 0.5)
    assert inside.sum() >= 8
    assert curve[inside] == pytest.approx((centre - RATIO * surround)[inside], abs=0.02)
    crossing = sqrt(2 * log(WIDE**2 / (RATIO * NARROW**2)) / (NARROW**-2 - WIDE**-2))
    peak = (1 - exp(-(crossing**2) / (2 * NARROW**2))) - RATIO * (
        1 - exp(-(crossing**2) / (2 * WIDE**2))
    )
    plateau = 1 - RATIO * erf(SIDE / 2 / (WIDE * sqrt(2))) ** 2
    for unit in ("on", "off"):
        assert measure("ssi", unit) == pytest.approx((peak - plateau) / peak, abs=0.03)
        assert abs(log(measure("radius", unit) / crossing)) <= log(step("radius"))


def test_a_gaussian_is_not_suppressed() -> None:
    assert measure("ssi", "gaussian") == pytest.approx(0, abs=1e-4)
    assert measure("radius", "gaussian") > 3 * NARROW


def test_the_sign_is_that_of_the_centre() -> None:
    assert [measure("sign", unit) for unit in ("on", "off", "gaussian")] == [1, -1, 1]


def test_a_gabor_has_its_orientation_and_frequency() -> None:
    turn = 1 / (2 * pi * ENVELOPE * FREQUENCY)  # its bandwidth, radians, if small
    for unit, angle in (("gabor", ANGLE), ("between", ANGLE + 15)):
        assert measure("orientation", unit) == pytest.approx(angle, abs=1)
        assert measure("osi", unit) == pytest.approx(exp(-2 * turn**2), abs=0.03)
        assert abs(log(measure("frequency", unit) / FREQUENCY)) <= log(step("frequency"))
    for unit in ("on", "off", "gaussian"):
        assert measure("osi", unit) < 0.02


def test_a_centre_surround_unit_prefers_the_frequency_of_its_formula() -> None:
    power = log(RATIO * WIDE**2 / NARROW**2) / (WIDE**2 - NARROW**2)
    best = sqrt(power / (2 * pi**2))
    assert abs(log(measure("frequency", "on") / best)) <= log(step("frequency"))
    assert measure("frequency", "gaussian") == planted().battery.frequency[0]


def test_colour_opponency_is_that_of_the_weights() -> None:
    for unit, expected in {"red-green": 1, "blue-yellow": 1, "red": 0, "on": -1}.items():
        assert measure("colour", unit) == pytest.approx(expected, abs=1e-3)


def test_a_unit_that_nothing_moves_has_no_tuning_and_is_not_counted() -> None:
    numbers = tuning_indices(planted())
    for values in numbers.values():
        assert values.dtype == np.float64
        assert np.isnan(values[NAMES.index("dead")])
        assert np.isfinite(values[:3]).all()
    assert bootstrap_interval(numbers["colour"]).count == len(NAMES) - 1
    assert (
        bootstrap_interval(numbers["ssi"]).count == len(NAMES) - 3
    )  # grey disks: round-off in colours


def test_a_unit_that_a_large_disk_inhibits_is_suppressed_beyond_one() -> None:
    disks = np.array([[[0.0, 2.0, -1.0], [0.0, -2.0, 1.0]]])
    assert surround_suppression_index(disks).tolist() == [1.5]


def test_measures_are_blind_to_gain() -> None:
    random = np.random.default_rng(0)
    disks, colours = random.normal(size=(5, 2, 12)), random.normal(size=(5, 3, 2, 3))
    curve, axis = np.abs(random.normal(size=(5, 6))), np.arange(0.0, 180.0, 30.0)
    assert np.allclose(surround_suppression_index(disks), surround_suppression_index(7 * disks))
    assert np.allclose(colour_opponency_index(colours), colour_opponency_index(7 * colours))
    assert np.allclose(
        orientation_selectivity(curve, axis), orientation_selectivity(7 * curve, axis)
    )
    assert np.allclose(preferred_value(curve, axis), preferred_value(7 * curve, axis))
