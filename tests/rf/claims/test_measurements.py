import numpy as np
import pytest
import torch
from torch import nn

from deepsal.rf import map_receptive_fields, measure_geometry
from deepsal.rf.backprojection.reinjection import pooled_activation, scale_to_contrast
from deepsal.rf.claims.measurements import measure_network
from deepsal.rf.patches import centred_patches

UNITS = {"0": [0, 1], "2": [3, 0]}


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 5, padding=2), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()
    )


def images(count: int) -> torch.Tensor:
    return torch.rand(count, 3, 24, 24, generator=torch.Generator().manual_seed(1))


def test_fields_are_those_of_all_images_in_the_middle_and_their_halves() -> None:
    net, shown = network(), images(5)
    measured = measure_network(net, UNITS, shown, window=None)
    known = measure_geometry(net, "2")
    patches = centred_patches(2, 5, known, (24, 24))
    whole = map_receptive_fields(net, "2", shown, patches, [3, 0], known)
    assert np.allclose(measured.field["2"], whole.field, atol=1e-7)
    odd = map_receptive_fields(net, "2", shown[1::2], patches[:, :2], [3, 0], known)
    assert np.allclose(measured.half_fields["2"][1], odd.field, atol=1e-7)
    assert measured.units == {"0": [0, 1], "2": [3, 0]}
    assert measured.patterns is None


def test_every_measure_has_a_number_per_unit() -> None:
    measured = measure_network(network(), UNITS, images(4), window=None)
    expected = {
        "csi",
        "k",
        "opponency",
        "surround",
        "extent",
        "anisotropy",
        "centre_surround",
        "ssi",
    }
    assert expected <= set(measured.measures["2"])
    assert {len(values) for values in measured.measures["2"].values()} == {2}
    assert measured.activations["2"].shape == (4 * 16, 4)


def test_a_chain_also_has_patterns() -> None:
    net = network()
    measured = measure_network(net, UNITS, images(2), chain=[*net, nn.MaxPool2d(2)])
    assert measured.patterns is not None
    assert measured.patterns.pattern.shape[:2] == (2, 3)
    assert measured.patterns.reinjected_responses.shape == (2, 4)
    spread = measured.patterns.spread
    assert np.allclose(spread[np.isfinite(spread)], 1)
    shapes = {name: a.shape for name, a in measured.patterns.reference_responses.items()}
    assert shapes == dict.fromkeys(("blank", "noise", "scrambled"), (2, 4))


def test_patterns_are_shown_at_the_contrast_of_what_the_chain_is_given() -> None:
    net, pool = network(), nn.MaxPool2d(2)
    shown = images(2)
    whole = nn.Sequential(Halve(), *net)  # a network that normalises
    names = {f"{int(name) + 1}": units for name, units in UNITS.items()}
    measured = measure_network(whole, names, shown, chain=[*whole[1:], pool])
    assert measured.patterns is not None
    image = scale_to_contrast(measured.patterns.pattern, float((shown / 2).std()))
    expected = pooled_activation(nn.Sequential(*net, pool), image)
    assert np.allclose(measured.patterns.reinjected_responses, expected, rtol=1e-5)


class Halve(nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image / 2


def test_one_image_cannot_be_halved() -> None:
    with pytest.raises(ValueError, match="1 images cannot be halved"):
        measure_network(network(), UNITS, images(1))
