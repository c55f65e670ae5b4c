import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from deepsal.rf import reverse_correlation
from deepsal.rf.tuning.stimuli import disk_images, grating_images

STUDY = Path(__file__).parents[2] / "experiments" / "planted"
NETWORKS = runpy.run_path(str(STUDY / "networks.py"))
KINDS: dict[str, Any] = NETWORKS["KINDS"]
SIDE = 64


def planted(stride: int = 2) -> nn.Module:
    """One unit of each kind, an ON unit, before its batch norm."""
    network = NETWORKS["planted_network"](stride, 1)[0]
    return nn.Sequential(network[0], network[1][0])


def middle_responses(network: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        z = network(images)
    return torch.as_tensor(z[:, :, z.shape[2] // 2, z.shape[3] // 2])


@pytest.mark.parametrize("stride", [2, 4])
def test_the_code_is_lossless_for_uniform_light_behind_batch_norm_and_rectifiers(
    stride: int,
) -> None:
    images = torch.full((2, 3, 32 * stride, 32 * stride), 0.5)
    images += torch.tensor([0.3, -0.2]).view(2, 1, 1, 1)
    responses = middle_responses(planted(stride), images)
    for name in ("DoG, k .3", "DoG, k .55", "DoG, k .9", "Gaussian", "R−G centre"):
        row, kind = [*KINDS].index(name), KINDS[name]
        volume = 0.0 if kind.axis else 1 - kind.k
        sign = 1 if row % 2 else -1
        expected = sign * volume * torch.tensor([0.3, -0.2])
        assert torch.allclose(responses[:, row], expected, atol=4e-3)  # kernels end


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.shape == "dog"])
def test_a_kernel_has_its_centre_at_its_place(name: str) -> None:
    field, place = NETWORKS["plant_field"](KINDS[name], -1, np.random.default_rng(3))
    peak = np.unravel_index(int(field[0].abs().argmax()), tuple(field[0].shape))
    assert np.abs(np.array(peak) - NETWORKS["KERNEL_SIDE"] // 2 - np.array(place)).max() <= 0.5
    assert field[0][peak] < 0


def test_a_nonlinear_surround_suppresses_and_leaves_no_trace_in_the_field() -> None:
    front, units = NETWORKS["planted_network"](2, 1)[0][:2]
    network = nn.Sequential(front, units[0])
    noise = 0.2 * torch.randn(4, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    odd = middle_responses(network, 0.5 + noise) - middle_responses(network, 0.5 - noise)
    with torch.no_grad():
        linear = units[0].linear(front(0.5 + noise))[:, :, 16, 16]
    grey = middle_responses(network, torch.full((1, 3, SIDE, SIDE), 0.5))
    at = (32.0, 32.0)
    large, small = disk_images((SIDE, SIDE), at, [40.0, 5.0])
    wave = grating_images((SIDE, SIDE), at, [0.08], [0.0], [0.0])[0]
    patch = 0.5 + (wave - 0.5) * (small - 0.5) / 0.5
    disks, gratings = (
        torch.stack([middle_responses(network, torch.stack([a, 1 - a])) - grey for a in pair])
        .max(1)
        .values
        for pair in ((small, large), (patch, wave))
    )  # of the bright and the dark one
    for row, (name, kind) in enumerate(KINDS.items()):
        if name.startswith("subtractive"):
            assert torch.allclose(odd[:, row], 2 * linear[:, row], atol=1e-5)
        if name.startswith("divisive"):
            gain = odd[:, row] / linear[:, row]
            assert ((gain > 0) & (gain < 2)).all()
        if kind.light:
            assert disks[1, row] < 0.8 * disks[0, row]
        if kind.contrast:
            assert disks[1, row] > disks[0, row]
            assert gratings[1, row] < 0.8 * gratings[0, row]
        if name == "Gaussian":
            assert disks[1, row] >= disks[0, row]
            assert odd[:, row].numpy() == pytest.approx(2 * linear[:, row].numpy(), abs=1e-5)


def test_fields_have_the_planted_places_and_signs() -> None:
    network, places = NETWORKS["planted_network"](2, 2)
    fields = reverse_correlation(network, ["2"], (SIDE, SIDE), pairs=64, cells={"2": [4]})["2"]
    row = 2 * [*KINDS].index("DoG, k .9")
    of_kind = slice(row, row + 2)
    measures = NETWORKS["measure_kind"](fields, KINDS["DoG, k .9"], of_kind, places[of_kind])
    assert measures["sign"] == 1
    assert measures["place_error"] < 0.5
    assert measures["called_red_green"] == 0


def test_what_is_published_has_every_cell_and_says_what_the_page_says() -> None:
    table = pd.read_csv(STUDY / "networks.csv")
    assert len(table) == len(KINDS) * 3 * 2
    assert table["reliability"].min() > 0.8
    columns = ["called_luminance", "called_red_green", "suppressed"]
    shares = table[table["pairs"] == 512].groupby("kind", sort=False)[columns].mean()
    assert shares.loc[["DoG, k .55", "DoG, k .9"], "called_luminance"].min() == 1
    assert [*shares.loc["R−G centre, G−R surround, k .9"]] == [0, 1, 0]
    for drive, suppressed in (("light", 1), ("contrast", 0)):
        for surround in ("subtractive", "divisive"):
            assert [*shares.loc[f"{surround}, {drive}"]] == [0, 0, suppressed]
