import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deepsal.rf.plot import change, grid, png, shown_side


def spot(at: int = 20, side: int = 41) -> NDArray[np.float32]:
    field = np.zeros((3, side, side), np.float32)
    field[:, at - 2 : at + 3, at - 2 : at + 3] = 1
    return field


def test_the_panel_holds_the_field_and_little_more() -> None:
    assert shown_side(np.stack([spot().mean(0)] * 3)) == 5
    assert shown_side(np.full((1, 41, 41), np.nan, np.float32)) == 41


def test_excitation_is_red_inhibition_blue_zero_white_and_a_dead_unit_grey() -> None:
    fields = np.stack([spot(), -spot(), np.full((3, 41, 41), np.nan, np.float32)])
    fields[:2, :, 18, 18] = 0
    figure = grid(fields, [0, 1, 7], "conv1")
    picture = np.asarray(Image.open(io.BytesIO(png(figure))).convert("RGB")).astype(int)
    for axis, channel in zip(figure.axes[:2], (0, 2), strict=True):
        box = axis.get_window_extent()
        rows = slice(picture.shape[0] - int(box.y1) + 2, picture.shape[0] - int(box.y0) - 2)
        panel = picture[rows, int(box.x0) + 2 : int(box.x1) - 2]
        corner, middle = panel[3, 3], panel[panel.shape[0] // 2, panel.shape[1] // 2]
        assert corner.min() > 240
        assert middle[channel] > middle[2 - channel] + 50
    assert figure.axes[2].texts[0].get_text() == "dead"
    assert [axis.get_title() for axis in figure.axes[:3]] == ["0", "1", "7"]


def test_the_picture_says_what_it_shows() -> None:
    figure = grid(np.stack([spot()]), [0], "conv3, epoch 2", smooth=2.0)
    assert figure.get_suptitle() == "conv3, epoch 2"
    assert "smoothed 2 px" in figure.texts[-1].get_text()


def test_a_change_shows_the_same_units_before_and_after() -> None:
    before, after = np.stack([spot(), -spot()]), np.stack([-spot(), spot()])
    figure = change(
        {"conv1": before, "conv2": before},
        {"conv1": after, "conv2": after},
        ("epoch 0", "epoch 6"),
        "toy",
        {"conv1": 0.0, "conv2": 1.0},
        units=2,
    )
    drawn = [axis.images[0].get_array() for axis in figure.axes]
    assert len(drawn) == 2 * 2 * 2
    first, second = (np.asarray(drawn[i]) for i in (0, 2))
    assert np.array_equal(first, -second)
    words = {text.get_text() for text in figure.texts}
    assert {"epoch 0", "epoch 6", "conv1\n5 px"} <= words
