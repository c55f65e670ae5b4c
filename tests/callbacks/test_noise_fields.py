import numpy as np
import pytest
import torch
from torch import nn

from deepsal.callbacks.noise_fields import PairedNoiseMapper, noise_change_measures
from deepsal.rf.geometry import measure_geometry


class OneStage(nn.Module):
    """A backbone of one linear stage of four units, of which the last one is silent."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.backbone = nn.ModuleDict({"conv1": nn.Conv2d(3, 4, 5, bias=False)})
        self.backbone.get_parameter("conv1.weight").data[3] = 0

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.backbone["conv1"](image)
        return result


def test_reliable_change_is_measured_and_unreliable_units_are_not_determined() -> None:
    before, after, images = OneStage(0), OneStage(0), torch.full((8, 3, 32, 32), 0.5)
    after.backbone.get_parameter("conv1.weight").data[0].neg_()
    mapper = PairedNoiseMapper(["natural"], target=0.9, pairs=64, window=9)
    geometry, entry = {"conv1": measure_geometry(before, "backbone.conv1")}, "conv1/natural"
    first = mapper.measure(before, images, geometry)
    second = mapper.measure(after, images, geometry)
    units = [0, 1, 3]
    measures = noise_change_measures(second[entry], units, first[entry].blocks[:, units])
    assert measures["correlation"][:2] == pytest.approx([-1, 1], abs=1e-3)
    assert measures["correlation_raw"][:2] == pytest.approx([-1, 1], abs=1e-3)
    assert (measures["correlation_error"][:2] < 0.01).all()
    assert measures["reliability"][:2].min() > 0.9
    assert measures["correlation_ceiling"][:2] == pytest.approx(
        measures["reliability"][:2], abs=0.05
    )
    for name in ("extent", "csi", "anisotropy", "polarity"):
        assert np.isfinite(measures[name][:2]).all()
        assert (measures[f"{name}_error"][:2] >= 0).all()
    assert measures.keys() >= {"k", "k_error", "k_bias"}
    assert all(np.isnan(values[2]) for values in measures.values()), "a silent unit"
    assert first[entry].cell == second[entry].cell
    assert first[entry].pairs == second[entry].pairs
