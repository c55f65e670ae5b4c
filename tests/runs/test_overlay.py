import io

import numpy as np
import torch
from PIL import Image

from deepsal.runs.image_boxes import Box
from deepsal.runs.overlay import HEAT_COLOURS, blend_heat_map, draw_comparison, png_of


def grey_image(height: int = 20, width: int = 30) -> torch.Tensor:
    return torch.full((3, height, width), 128, dtype=torch.uint8)


def test_an_overlay_shows_the_image_where_nobody_looks_and_heat_where_all_do() -> None:
    density = np.zeros((20, 30), np.float32)
    density[5, 7] = 1
    blended = blend_heat_map(grey_image(), density)
    assert blended.shape == (20, 30, 3)
    assert blended.dtype == np.uint8
    hot = np.array(HEAT_COLOURS(1.0, bytes=True)[:3]).astype(float)
    assert np.abs(blended[5, 7] - (0.15 * 128 + 0.85 * hot)).max() < 1
    blended[5, 7] = 128
    assert (blended == 128).all()


def test_a_common_scale_makes_a_lower_map_darker() -> None:
    low = np.full((20, 30), 0.1, np.float32)
    own, common = blend_heat_map(grey_image(), low), blend_heat_map(grey_image(), low, 1.0)
    assert own.mean() > common.mean()


def test_pixels_are_a_png_of_their_size() -> None:
    with Image.open(io.BytesIO(png_of(np.zeros((4, 7, 3), np.uint8)))) as picture:
        assert (picture.format, picture.size) == ("PNG", (7, 4))


def test_a_comparison_has_one_scale_and_a_symmetric_one_for_the_difference() -> None:
    first, second = np.full((20, 30), 1 / 600, np.float32), np.zeros((20, 30), np.float32)
    second[:, :10] = 1 / 200
    boxes = [Box("left", 0, 0, 10, 20)]
    figure = draw_comparison(("a", "b"), (grey_image(), grey_image()), (first, second), (boxes, []))
    shown = figure.axes[:3]
    assert [axis.get_title() for axis in shown] == ["a", "b", "difference, second − first"]
    assert [len(axis.patches) for axis in shown] == [1, 0, 0]
    assert figure.axes[3].get_xlim() == (0, 3)
    assert figure.axes[4].get_xlim() == (-2, 2)
    same = draw_comparison(("a", "b"), (grey_image(), grey_image()), (first, first))
    assert same.axes[4].get_xlim() == (-1, 1)
