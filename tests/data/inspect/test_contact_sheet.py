from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from deepsal.data.dataset import SaliencyDataset, Stimulus
from deepsal.data.inspect.contact_sheet import (
    CAPTION_HEIGHT,
    CELL_GAP,
    IMAGE_BOX,
    OBSERVER_COLOURS,
    fixation_sheet,
    save_png,
    search_array_sheet,
)
from deepsal.data.popout.popout import popout_test_arrays


def grey(size: tuple[int, int]) -> Tensor:
    return torch.full((3, *size), 128, dtype=torch.uint8)


def stimulus(name: str, size: tuple[int, int], at: tuple[float, float]) -> Stimulus:
    return Stimulus(name, size, np.array([at]), np.zeros(1, np.int64), partial(grey, size))


@pytest.mark.parametrize("at", [(12.0, 30.0), (200.0, 20.0), (239.0, 119.0)])
def test_a_dot_lies_on_its_fixation(at: tuple[float, float]) -> None:
    data = SaliencyDataset("toy", [stimulus("ä.png", (120, 240), at)], {"train": [0]}, 1.0)
    pixels = np.asarray(fixation_sheet(data)).astype(int)
    colour = np.array([int(OBSERVER_COLOURS[0][i : i + 2], 16) for i in (1, 3, 5)])
    rows, columns = np.nonzero((pixels == colour).all(2))
    top = CAPTION_HEIGHT + CELL_GAP + (IMAGE_BOX[1] - 120) // 2
    assert np.abs(columns - CELL_GAP - at[0]).max() <= 2
    assert np.abs(rows - top - at[1]).max() <= 2


def test_images_come_from_all_over_the_set_and_fit_their_boxes() -> None:
    sizes = [(600, 800), (900, 300), (4, 3), (60, 2400)]
    data = SaliencyDataset(
        "toy",
        [stimulus(str(i), sizes[i % 4], (1.0, 1.0)) for i in range(80)],
        {"train": range(80)},
        1.0,
    )
    few, many = fixation_sheet(data, 12), fixation_sheet(data, 500)
    assert few.width == many.width
    assert few.height - CAPTION_HEIGHT - CELL_GAP == 2 * (IMAGE_BOX[1] + CAPTION_HEIGHT + CELL_GAP)
    assert many.height > 6 * few.height


def test_arrays_are_drawn_in_rows() -> None:
    picture = search_array_sheet(
        popout_test_arrays(["colour", "tail"], [0.5, 1.0], size=(48, 64)), 2
    )
    assert picture.width == 2 * (IMAGE_BOX[0] + CELL_GAP) + CELL_GAP
    assert (
        picture.height == 2 * (IMAGE_BOX[1] + CAPTION_HEIGHT + CELL_GAP) + CAPTION_HEIGHT + CELL_GAP
    )


def test_a_sheet_is_written_whole(tmp_path: Path) -> None:
    save_png(Image.new("RGB", (5, 4)), tmp_path / "new" / "a.png")
    with Image.open(tmp_path / "new" / "a.png") as picture:
        assert picture.size == (5, 4)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.png"]
