import numpy as np
import pytest
import torch

from deepsal.rf.geometry import FieldGeometry
from deepsal.rf.mapping.cell_noise import (
    COLOUR_DIRECTIONS,
    cell_noise,
    cell_sizes,
    colour_mixing_matrix,
)


def test_noise_has_the_stated_variance_grain_and_colours() -> None:
    values = torch.cat([cell_noise(0, 4, n, (64, 96)) for n in range(8)])
    assert values.mean().item() == pytest.approx(0, abs=0.02)
    assert values.std().item() == pytest.approx(1, abs=0.02)
    apart = (values[..., 2:, :] * values[..., :-2, :]).mean().item()
    assert apart == pytest.approx(0.5, abs=0.03)  # two pixels apart: half of them share a cell
    assert (values[..., 4:, :] * values[..., :-4, :]).mean().item() == pytest.approx(0, abs=0.03)
    mixed = torch.einsum("bayx,ac->bcyx", values, colour_mixing_matrix(0.1, 0.5).float())
    assert mixed.std((0, 2, 3)).numpy() == pytest.approx([0.1] * 3, rel=0.05)
    assert np.allclose(COLOUR_DIRECTIONS @ COLOUR_DIRECTIONS.T, np.eye(3))


def test_the_ladder_follows_the_field_and_the_image() -> None:
    sides = {(7, 2): [1], (19, 4): [2, 4], (67, 8): [4, 8, 16], (339, 16): [8, 16, 32]}
    for (side, stride), cells in sides.items():
        known = FieldGeometry((side, side), (stride, stride), (0, 0))
        assert cell_sizes(known, (192, 256)) == cells
    assert cell_sizes(FieldGeometry((1, 1), (1, 1), (0, 0)), (192, 256)) == [1]
    assert cell_sizes(FieldGeometry(None, (32, 32), (0, 0)), (192, 256)) == [16, 32]
