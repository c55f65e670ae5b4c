import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from deepsal.rf.geometry import FieldGeometry
from deepsal.rf.tuning.texture_responses import texture_modulation
from tests.conftest import NoTrace, arrays_equal, backbone
from tests.rf.tuning.support import gabors

SIDE = 64


class EnergyUnits(nn.Module):
    """Energy of a Gabor, that energy squared, and nothing; at circular borders."""

    def __init__(self) -> None:
        super().__init__()
        self.gabor = nn.Conv2d(3, 2, 15, bias=False)
        self.gabor.weight.data = gabors(0.2, 2.0)[:, None].expand(-1, 3, -1, -1).clone()
        self.units = nn.ReLU()

    def forward(self, image: Tensor) -> Tensor:
        linear = self.gabor(functional.pad(image, (7, 7, 7, 7), mode="circular"))
        energy = linear.square().sum(1, keepdim=True)
        units: Tensor = self.units(torch.cat([energy, energy.square(), -1 - energy], 1))
        return units


GEOMETRY = {"units": FieldGeometry((15, 15), (1, 1), (7, 7))}


def bars(count: int) -> Tensor:
    """Images with a few vertical bars each: edges that are aligned."""
    random = np.random.default_rng(0)
    images = torch.full((count, 3, SIDE, SIDE), 0.5)
    for image in images:
        for row, column in random.integers(0, SIDE - 12, (6, 2)):
            image[:, row : row + 12, column : column + 2] = 1
    return images


def test_a_unit_that_sees_correlations_prefers_texture_and_energy_alone_does_not() -> None:
    of = texture_modulation(EnergyUnits(), ["units"], bars(8), GEOMETRY)["units"]
    assert of.modulation[0] == pytest.approx(0, abs=1e-4)  # the spectrum decides
    assert of.modulation[1] > 0.3
    assert 0 < of.error[1] < 0.2
    assert np.isnan(of.modulation[2])


def test_the_error_is_that_of_other_images() -> None:
    images = bars(32)
    parts = [
        texture_modulation(EnergyUnits(), ["units"], part, GEOMETRY)["units"]
        for part in images.split(8)
    ]
    spread = np.std([part.modulation[1] for part in parts], ddof=1)
    assert 0.3 < np.mean([part.error[1] for part in parts]) / spread < 3
    single = texture_modulation(EnergyUnits(), ["units"], images[:1], GEOMETRY)["units"]
    assert np.isfinite(single.modulation[1])
    assert np.isnan(single.error[1])


def test_layers_share_one_call_and_the_network_is_left_as_it_was(leaves_no_trace: NoTrace) -> None:
    network, images = backbone().train(), torch.rand(3, 3, 70, 100)
    with leaves_no_trace(network):
        both = texture_modulation(network, ["conv2", "conv4"], images)
    alone = texture_modulation(network, ["conv4"], images[:, :, :64, :96])
    assert [*both] == ["conv2", "conv4"]
    assert arrays_equal(both["conv4"].modulation, alone["conv4"].modulation)
