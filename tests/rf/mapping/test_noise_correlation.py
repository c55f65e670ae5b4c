import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from deepsal.rf.mapping.reverse_correlation import reverse_correlation
from tests.conftest import backbone
from tests.rf.mapping.support import assert_agrees, linear, smooth_kernels


def test_clipping_is_corrected_for() -> None:
    images = torch.rand(16, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    kernel = smooth_kernels(7)
    options: dict[str, Any] = {"amplitude": 0.3, "pairs": 256, "target": 0.9999}
    found = reverse_correlation(linear(kernel), ["0"], (40, 40), images, **options)["0"]
    assert max(found.gain) < 0.85
    assert found.background == "images"
    ratio = (found.field * kernel.numpy()).sum() / kernel.square().sum().item()
    assert ratio == pytest.approx(1, abs=0.02)
    free = reverse_correlation(linear(kernel), ["0"], (40, 40), images, limits=None, **options)
    assert free["0"].gain == (1, 1, 1)
    assert_agrees(free["0"], kernel.numpy())


def test_float32_sums_agree_with_float64() -> None:
    network = backbone()
    options: dict[str, Any] = {"pairs": 256, "target": 0.9999, "cells": {"conv2": [2]}}
    single = reverse_correlation(network, ["conv2"], (64, 64), **options)["conv2"]
    double = reverse_correlation(copy.deepcopy(network).double(), ["conv2"], (64, 64), **options)
    exact = double["conv2"].field
    assert np.abs(single.field - exact).max() < 1e-5 * np.abs(exact).max()


def test_blocks_share_no_image() -> None:
    seen: list[Tensor] = []
    network = linear(smooth_kernels(3))
    network.register_forward_pre_hook(lambda _m, x: seen.append(x[0].clone()))
    images = torch.arange(19.0).div(40).add(0.25).view(-1, 1, 1, 1).expand(-1, 3, 16, 16)
    reverse_correlation(network, ["0"], (16, 16), images, amplitude=1e-4, pairs=40, target=0.99999)
    levels = torch.cat([x for x in seen if len(x) == 16]).mean((1, 2, 3))
    indices = levels.sub(0.25).mul(40).round().int().view(5, 2, 8)
    assert torch.equal(indices[:, 0], indices[:, 1])
    for block in range(8):
        assert set(indices[:, 0, block].tolist()) == {block, block + 8}
