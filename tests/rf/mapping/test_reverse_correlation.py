from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from deepsal.rf.mapping.cell_noise import COLOUR_DIRECTIONS, cell_noise
from deepsal.rf.mapping.gradient_fields import map_receptive_fields
from deepsal.rf.mapping.reverse_correlation import reverse_correlation
from deepsal.rf.measures.fit import fit_field_models
from deepsal.rf.measures.reliability import corrected_similarity
from tests.conftest import backbone
from tests.rf.mapping.support import SIDE, assert_agrees, linear, small, smooth_kernels


def blurred(kernel: NDArray[Any], cell: int) -> NDArray[np.float64]:
    """Average with triangular weights that reach one cell to each side, (..., h, w)."""
    weights = np.maximum(0, 1 - np.abs(np.arange(-cell, cell + 1)) / cell) / cell
    for axis in (-2, -1):
        kernel = np.apply_along_axis(np.convolve, axis, kernel, weights, "same")
    return np.asarray(kernel, np.float64)


@pytest.mark.parametrize(("stride", "cell"), [(1, 1), (2, 1), (4, 4), (3, 2)])
def test_a_linear_layers_field_is_its_kernel_within_the_standard_error(
    stride: int, cell: int
) -> None:
    kernel = smooth_kernels(13)
    found = reverse_correlation(
        linear(kernel, stride), ["0"], (SIDE, SIDE + 9), amplitude=0.1, pairs=64, target=0.9999,
        cells={"0": [cell]}, window=99,
    )["0"]  # fmt: skip
    assert found.whole
    truth = blurred(kernel.numpy(), cell) if cell > 1 else kernel.numpy()
    samples = (np.arange(found.field.shape[2]) * found.step) + found.origin[0] + 13 // 2
    truth = truth[..., samples, :][..., samples]
    assert_agrees(found, truth)


def planted(bank: Tensor, stride: int) -> nn.Module:
    """Units with these fields (U, 3, side, side) behind an ON/OFF pair, batch norm and ReLUs.

    relu(x) − relu(−x) = x: batch norm scales each channel, and the bank undoes it.
    """
    side = bank.shape[-1]
    split = nn.Conv2d(3, 6, 1, bias=False)
    split.weight.data = torch.cat([torch.eye(3), -torch.eye(3)]).view(6, 3, 1, 1)
    norm, last = nn.BatchNorm2d(6), nn.BatchNorm2d(len(bank))
    scale = torch.tensor([0.5, 1.0, 2.0, 0.5, 1.0, 2.0])
    norm.running_mean = torch.cat([torch.full((3,), 0.5), torch.full((3,), -0.5)])
    norm.weight.data = scale
    units = nn.Conv2d(6, len(bank), side, stride, padding=side // 2)
    units.weight.data = torch.cat([bank, -bank], 1) / scale.view(1, 6, 1, 1)
    last.running_mean = torch.full((len(bank),), 0.3)
    first = nn.Sequential(split, norm, nn.ReLU())
    return nn.Sequential(first, nn.Sequential(units, last, nn.ReLU()))


def gaussian(side: int, sigma: float, at: tuple[float, float] = (0, 0)) -> Tensor:
    y, x = (torch.arange(side) - side // 2 - a for a in at)
    return torch.exp(-(y[:, None] ** 2 + x**2) / (2 * sigma**2)) / sigma**2


def test_planted_centre_surround_units_are_recovered() -> None:
    places = [(0.0, 0.0), (1.0, -0.5), (-0.75, 1.25)]
    ratios = [0.55, 0.9, 0.75]
    bank = torch.stack(
        [
            gaussian(15, 1.2, at) - k * gaussian(15, 2.4, at)
            for k, at in zip(ratios, places, strict=True)
        ]
    )
    network = planted(torch.cat([bank, -bank])[:, None].expand(-1, 3, -1, -1) / 3, 2)
    found = reverse_correlation(
        network, ["1"], (96, 96), amplitude=0.1, pairs=1024, target=0.999, cells={"1": [1]}
    )["1"]
    fits = fit_field_models(found.field)
    assert np.allclose(fits.k, 2 * ratios, rtol=0.05)
    assert np.sign(fits.dog[:, 0]).tolist() == [1, 1, 1, -1, -1, -1]
    assert np.abs(fits.dog[:, 4:6] - 7 - 2 * places).max() < 0.5 * found.cell
    assert np.allclose(fits.dog[:, 1], 1.2, rtol=0.1)


def test_planted_gaussians_gabors_and_colour_opponent_units_are_recovered() -> None:
    at = torch.arange(19) - 9.0
    wave = torch.cos(2 * torch.pi * at / 8)
    spot = gaussian(19, 2.5)
    luminance, opponent = torch.full((3,), 1 / 3), torch.tensor([0.5, -0.5, 0])
    bank = torch.stack(
        [
            luminance.view(3, 1, 1) * spot,
            -luminance.view(3, 1, 1) * spot * wave,
            opponent.view(3, 1, 1) * spot,
            torch.stack([spot, -0.9 * gaussian(19, 3.5), 0 * spot]),  # double opponent
        ]
    )
    found = reverse_correlation(
        planted(bank, 2), ["1"], (64, 64), amplitude=0.1, pairs=256, target=0.99,
        cells={"1": [2]},
    )["1"]  # fmt: skip
    truth = blurred(bank.numpy(), 2)
    cosines = [
        (f * w).sum() / np.sqrt((f * f).sum() * (w * w).sum())
        for f, w in zip(found.field, truth, strict=True)
    ]
    assert min(cosines) > 0.98
    axes = np.einsum("ucyx,ac->uayx", found.field, COLOUR_DIRECTIONS)
    energy = np.square(axes).sum((2, 3))
    assert energy.argmax(1).tolist()[:3] == [0, 0, 1]
    peaks = [
        np.unravel_index(np.abs(w[a]).argmax(), (19, 19))
        for w, a in zip(axes, (0, 0, 1, 1), strict=True)
    ]
    assert np.abs(np.array(peaks) - 9).max() <= 1


def test_in_small_noise_a_field_is_the_mean_gradient_over_images() -> None:
    network, size = backbone(), (64, 96)
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(64, 3, 8, 12, generator=generator)
    images = 0.1 + 0.8 * nn.functional.interpolate(coarse, size, mode="bilinear")
    found = reverse_correlation(
        network, ["conv3"], size, images, amplitude=0.002, pairs=256, target=0.999,
        cells={"conv3": [1]},
    )["conv3"]  # fmt: skip
    places = np.random.default_rng(0).integers((1, 1), (8, 12), (8, 16, 2))
    gradients = []
    for block in range(8):
        image = np.arange(block, 64, 8).repeat(2)[:, None]  # the images of the block
        patches = np.concatenate([image, places[block]], 1)[None].repeat(8, 0)
        gradients.append(map_receptive_fields(network, "conv3", images, patches, range(8)).field)
    _, corrected, ceiling = corrected_similarity(np.stack(gradients), found.blocks)
    assert np.median(ceiling) > 0.9
    assert np.median(corrected.value) > 0.97
    mean = np.mean(gradients, 0)
    gain = (found.field * mean).sum() / np.square(mean).sum()
    assert gain == pytest.approx(1, abs=0.05)


def test_equal_seeds_give_equal_noise_whatever_the_network_and_the_global_generator() -> None:
    first = small()
    torch.rand(7)
    second = small()
    for name, found in first.items():
        assert np.array_equal(found.blocks, second[name].blocks)
    other = small(seed=1)
    assert not np.allclose(other["conv1"].field, first["conv1"].field, atol=1e-9)
    assert torch.equal(cell_noise(3, 4, 5, (9, 17)), cell_noise(3, 4, 5, (9, 17)))
    assert not torch.equal(cell_noise(3, 4, 5, (9, 17)), cell_noise(3, 4, 6, (9, 17)))


def test_layers_together_give_what_each_gives_alone() -> None:
    cells = {"conv1": [2], "conv3": [2]}
    together = small(cells=cells)
    for name in cells:
        alone = reverse_correlation(
            backbone(), [name], (64, 96), amplitude=0.1, pairs=together[name].pairs, target=0.9999,
            cells={name: [2]},
        )[name]  # fmt: skip
        assert np.allclose(alone.blocks, together[name].blocks, rtol=1e-4, atol=1e-6)
