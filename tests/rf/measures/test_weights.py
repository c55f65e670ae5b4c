import numpy as np
import pytest
import torch
from torch import Tensor, nn

from deepsal.rf.measures.weights import weight_displacement


def test_a_planted_displacement_is_that_of_its_layer_alone() -> None:
    before = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))
    after = {n: t.clone() for n, t in before.state_dict().items()}
    weight = after["2.weight"]
    step = torch.randn(weight.shape)
    after["2.weight"] = weight + 0.25 * step / step.norm() * weight.norm()
    after["1.running_mean"] += 100
    after["2.bias"] += 100
    assert weight_displacement(before, after, ["0", "2"]) == pytest.approx({"0": 0, "2": 0.25})
    with torch.no_grad():
        before[0].weight.zero_()  # type: ignore[operator]
    assert np.isnan(weight_displacement(before, after, ["0"])["0"])


def test_a_stage_counts_all_layers_below_it_and_no_namesake() -> None:
    before = {"conv1.a.weight": torch.full((1, 4), 3.0), "conv1.b.weight": torch.full((1, 4), 4.0)}
    after = {name: weight + 1 for name, weight in before.items()}
    extra = {"conv10.weight": torch.ones(1, 1)}
    expected = np.sqrt(8) / 10
    displacement = weight_displacement(before | extra, after | extra, ["conv1"])
    assert displacement == pytest.approx({"conv1": expected})


def test_bad_input_is_named() -> None:
    network = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU())
    with pytest.raises(ValueError, match="no weights below '1'"):
        weight_displacement(network, network, ["1"])
    others: list[dict[str, Tensor]] = [{}, {"0.weight": torch.ones(2, 3, 5, 5)}]
    for other in others:
        with pytest.raises(ValueError, match=r"differ in shape .*0.weight.*\(2, 3, 3, 3\)"):
            weight_displacement(network, other, ["0"])
