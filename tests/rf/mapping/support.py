"""Networks, crops and checks for the tests of mapping."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from deepsal.rf.geometry import FieldGeometry
from deepsal.rf.mapping.crop import crops_for_units
from deepsal.rf.mapping.engine.windowed_gradient import Box
from deepsal.rf.mapping.noise_fields import NoiseFields
from deepsal.rf.mapping.reverse_correlation import reverse_correlation
from tests.conftest import backbone

SIDE = 48


def linear(kernel: Tensor, stride: int = 1) -> nn.Module:
    """A convolution with these kernels (U, 3, side, side), padded by half of the side."""
    side = kernel.shape[-1]
    layer = nn.Conv2d(3, len(kernel), side, stride, padding=side // 2, bias=False)
    layer.weight.data = kernel
    return nn.Sequential(layer)


def smooth_kernels(side: int, units: int = 6) -> Tensor:
    """Random kernels that fall off to their edges, so that blurring keeps them inside."""
    at = torch.arange(side) - side // 2
    envelope = torch.exp(-(at[:, None] ** 2 + at**2) / (2 * (side / 7) ** 2))
    generator = torch.Generator().manual_seed(1)
    return torch.randn(units, 3, side, side, generator=generator) * envelope


def z_scores(found: NoiseFields, truth: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray((found.field - truth) / found.stderr)


def assert_agrees(found: NoiseFields, truth: NDArray[Any]) -> None:
    """The error is as large as stated: z has a t-distribution of 7 degrees of freedom."""
    z = z_scores(found, truth)
    assert np.median(np.abs(z)) == pytest.approx(0.711, abs=0.2)
    assert np.mean(np.abs(z) > 2.36) < 0.09
    assert np.corrcoef(found.field.ravel(), truth.ravel())[0, 1] > 0.9


def small(**options: Any) -> dict[str, NoiseFields]:
    chosen: dict[str, Any] = {"pairs": 64, "amplitude": 0.1, "target": 0.99} | options
    return reverse_correlation(backbone(), ["conv1", "conv3"], (64, 96), **chosen)


def crop_for_unit(
    geometry: FieldGeometry, image_size: tuple[int, int], position: tuple[int, int]
) -> tuple[Box, tuple[int, int]]:
    """The crop for one unit, and the unit's position in it."""
    boxes, positions = crops_for_units(geometry, image_size, np.array([position]))
    row, column = positions[0].tolist()
    return Box(*boxes[0].tolist()), (row, column)
