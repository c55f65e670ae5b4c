from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from deepsal.rf.backprojection.reinjection import pooled_activation, scale_to_contrast
from deepsal.rf.claims.measurements import NetworkMeasurements, measure_network, measure_stage
from deepsal.rf.mapping.reverse_correlation import reverse_correlation
from deepsal.rf.tuning.grating_indices import size_tuning_indices
from deepsal.rf.tuning.grating_responses import record_grating_responses
from tests.rf.claims.support import UNITS as PLANTED
from tests.rf.claims.support import noisy_blocks, planted, sampling, shared_rule
from tests.rf.tuning.support import SMALL

UNITS = {"0": [0, 1], "2": [3, 0]}


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 5, padding=2), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()
    )


def images(count: int) -> torch.Tensor:
    return torch.rand(count, 3, 24, 24, generator=torch.Generator().manual_seed(1))


def measured(net: nn.Module, repeat: NetworkMeasurements | None = None) -> NetworkMeasurements:
    return measure_network(
        net,
        UNITS,
        images(8),
        pairs=64,
        shaped=["2"],
        protocol=SMALL,
        plantings=20,
        repeat=repeat,
    )


def test_fields_are_those_of_noise_on_images_and_on_grey() -> None:
    net = network()
    of = measured(net)
    assert [*of.fields] == ["0/natural", "2/natural", "0/grey", "2/grey"]
    grey = reverse_correlation(net, ["0", "2"], (24, 24), pairs=64)["2"]
    assert np.array_equal(of.fields["2/grey"].blocks, grey.blocks[:, [3, 0]])
    assert np.allclose(of.fields["2/grey"].reliability, grey.reliability[[3, 0]])
    assert of.units == {"0": [0, 1], "2": [3, 0]}
    assert of.activations["2"].shape == (8 * 16, 4)
    assert of.spread["2"] > 0
    assert of.patterns == {}
    gratings = record_grating_responses(net, ["0", "2"], SMALL)
    for name, units in UNITS.items():
        tuning = size_tuning_indices(gratings[name])
        expected = np.where(tuning.responsive, tuning.index["ssi"], np.nan)[units]
        assert np.allclose(of.tuning[name]["ssi"], expected, equal_nan=True)
    assert measure_network(net, UNITS, images(2), pairs=64).tuning == {}
    assert of.fields["2/grey"].rule is not None
    assert of.fields["0/grey"].rule is None


def test_a_second_network_gets_the_noise_of_the_first() -> None:
    first = measured(network())
    again = measured(network(), repeat=first)
    for key, of in first.fields.items():
        assert (again.fields[key].cell, again.fields[key].pairs) == (of.cell, of.pairs)
        assert np.allclose(again.fields[key].blocks, of.blocks, atol=1e-5)  # order of sums


def test_units_are_read_about_their_measured_centre_on_their_strongest_axis() -> None:
    fields = planted(["gaussian"] * 4, 0, shift=2.0)
    fields[1, 1] *= -1  # red against green
    fields[1, 2] = 0
    of = measure_stage(sampling(noisy_blocks(fields, 1)), range(4))
    assert of.measures["axis"].tolist() == [0, 1, 0, 0]
    # sample 8 of step 2 from -4 is pixel 12; the theoretical centre is 8
    assert of.measures["row"].mean() == pytest.approx(4, abs=1.5)
    assert set(of.measures) == {"csi", "polarity", "row", "column", "axis"}


def test_a_dead_unit_is_missing_and_not_a_unit_without_surround() -> None:
    blocks = noisy_blocks(planted(["0.9"] * PLANTED, 0), 1)
    blocks[:, 0] = 0
    blocks[:, 1] = np.random.default_rng(0).normal(size=blocks[:, 1].shape)
    of = measure_stage(sampling(blocks), range(PLANTED), shared_rule())
    called = of.measures["centre_surround"]
    assert np.isnan(called[:2]).all()
    assert called[2:].mean() > 0.8
    assert np.isfinite(of.measures["k"][2:]).mean() > 0.8
    assert np.isnan(of.reliability[0])
    assert replace(of, reliability=np.array([np.nan, 0.5])).median == 0.5


def test_a_chain_also_has_patterns() -> None:
    net = network()
    of = measure_network(net, UNITS, images(2), chain=[*net, nn.MaxPool2d(2)], pairs=64)
    assert [*of.patterns] == [*UNITS]
    patterns = of.patterns["2"]
    assert patterns.pattern.shape[:2] == (2, 3)
    assert patterns.reinjected_responses.shape == (2, 4)
    spread = of.pattern_spread["2"]
    assert np.allclose(spread[np.isfinite(spread)], 1)
    shapes = {name: a.shape for name, a in patterns.reference_responses.items()}
    assert shapes == dict.fromkeys(("blank", "noise", "scrambled"), (2, 4))


def test_no_more_patterns_are_measured_than_the_paper_draws() -> None:
    net = nn.Sequential(nn.Conv2d(3, 70, 3, padding=1))
    chain = [*net, nn.MaxPool2d(2)]
    of = measure_network(net, {"0": range(70)}, images(2), chain=chain, backgrounds=[])
    assert of.patterns["0"].units == [*range(64)]
    assert of.patterns["0"].reinjected_responses.shape == (64, 70)
    assert of.fields == {}
    assert of.activations == {}


def test_patterns_are_shown_at_the_contrast_of_what_the_chain_is_given() -> None:
    net, pool = network(), nn.MaxPool2d(2)
    shown = images(2)
    whole = nn.Sequential(Halve(), *net)  # a network that normalises
    of = measure_network(whole, {"4": [3, 0]}, shown, chain=[*whole[1:], pool], backgrounds=[])
    patterns = of.patterns["4"]
    image = scale_to_contrast(patterns.pattern, float((shown / 2).std()))
    expected = pooled_activation(nn.Sequential(*net, pool), image)
    assert np.allclose(patterns.reinjected_responses, expected, rtol=1e-5)


class Halve(nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image / 2
