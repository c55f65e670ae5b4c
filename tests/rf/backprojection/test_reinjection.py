import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from deepsal.rf.backprojection.clamp import clamp_backprojection
from deepsal.rf.backprojection.reinjection import pooled_activation, scramble_phases
from tests.conftest import NoTrace


def planted() -> nn.Sequential:
    """Four units, each for gratings of an orientation of its own."""
    at = torch.arange(9) - 4.0
    window = torch.exp(-(at[:, None].square() + at.square()) / 8)
    convolution = nn.Conv2d(3, 4, 9, padding=4, bias=False)
    for unit in range(4):
        angle = torch.tensor(unit * torch.pi / 4)
        grating = torch.cos(torch.pi / 2 * (at[:, None] * angle.sin() + at * angle.cos())) * window
        convolution.weight.data[unit] = grating - grating.mean()
    return nn.Sequential(convolution, nn.ReLU(), nn.MaxPool2d(2))


def test_the_activation_is_the_sum_of_each_units_pooled_map() -> None:
    network = planted()
    images = torch.rand(5, 3, 16, 12)
    with torch.no_grad():
        expected = np.array([[m.sum().item() for m in network(i[None])[0]] for i in images])
    for batch_size in (1, 2, 16):
        assert pooled_activation(network, images, batch_size) == pytest.approx(expected, rel=1e-5)
    assert pooled_activation(lambda image: network(image), images) == pytest.approx(
        expected, rel=1e-5
    )
    assert pooled_activation(network, images.numpy()) == pytest.approx(expected, rel=1e-5)
    assert pooled_activation(copy.deepcopy(network).double(), images) == pytest.approx(
        expected, rel=1e-5
    )


def test_a_planted_unit_answers_most_to_its_own_pattern_and_less_to_its_scrambled_one() -> None:
    network = planted()
    pattern = clamp_backprojection(network, range(4), rectify="none", upsample="insert")
    answers = pooled_activation(network, pattern)
    assert answers.shape == (4, 4)
    assert answers.argmax(0).tolist() == answers.argmax(1).tolist() == [0, 1, 2, 3]
    scrambled = [
        np.diag(pooled_activation(network, scramble_phases(pattern, s))) for s in range(20)
    ]
    assert (np.mean(scrambled, 0) < np.diag(answers)).all()
    assert pooled_activation(network, np.zeros_like(pattern)).max() == 0


def test_a_module_is_read_in_eval_mode_and_left_as_it_was(leaves_no_trace: NoTrace) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.MaxPool2d(2))
    network.train()
    images = torch.rand(3, 3, 16, 16)
    with leaves_no_trace(network):
        answers = pooled_activation(network, images)
        assert np.array_equal(answers, pooled_activation(network, images))
    with torch.no_grad():
        expected = network.eval()(images).sum((2, 3))
    assert answers == pytest.approx(expected.numpy(), rel=1e-5)


@pytest.mark.parametrize("side", [16, 15])
def test_scrambling_keeps_every_channels_amplitudes_mean_and_relation(side: int) -> None:
    pattern = np.random.default_rng(0).random((2, 3, side, side + 3), np.float32)
    pattern[1, 1] = -2 * pattern[1, 0]
    scrambled = scramble_phases(pattern, seed=1)
    assert scrambled.shape == pattern.shape
    assert scrambled.dtype == np.float32
    amplitude, expected = (np.abs(np.fft.fft2(one)) for one in (scrambled, pattern))
    assert np.allclose(amplitude, expected, atol=1e-3)
    assert np.allclose(scrambled.mean((2, 3)), pattern.mean((2, 3)), atol=1e-6)
    assert np.allclose(scrambled[1, 1], -2 * scrambled[1, 0], atol=1e-5)
    assert np.allclose(
        (scrambled[0, 0] * scrambled[0, 1]).sum(), (pattern[0, 0] * pattern[0, 1]).sum()
    )


def test_scrambling_takes_the_form_away_and_is_reproducible() -> None:
    pattern = np.zeros((40, 3, 16, 16), np.float32)
    pattern[..., 6:10, 6:10] = 1
    scrambled = scramble_phases(pattern, seed=1)
    assert np.array_equal(scrambled, scramble_phases(pattern, seed=1))
    assert not np.allclose(scrambled, scramble_phases(pattern, seed=2))
    flat = [(one - one.mean((2, 3), keepdims=True)).reshape(40, -1) for one in (pattern, scrambled)]
    cosines = (flat[0] * flat[1]).sum(1) / (flat[0] ** 2).sum(1)
    assert np.abs(cosines).mean() < 0.3
    assert np.std(cosines) > 0.01  # other phases for every unit


def test_what_is_no_map_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"\(B, C, h, w\), not torch.Size\(\[2, 48\]\)"):
        pooled_activation(nn.Flatten(), torch.rand(2, 3, 4, 4))

    def total(image: Tensor) -> Tensor:
        return image.sum()

    with pytest.raises(ValueError, match="pooled maps"):
        pooled_activation(total, torch.rand(2, 3, 4, 4))
