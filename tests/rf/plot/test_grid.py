import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from deepsal.rf.plot.grid import draw_field_change, draw_field_grid
from deepsal.rf.plot.tile_board import (
    LABEL_HEIGHT,
)
from deepsal.rf.plot.tiles import (
    MISSING_GREY,
    TILE_SIDE,
    display_side,
)
from tests.rf.plot.support import (
    BLUE,
    DEAD,
    RED,
    WHITE,
    box,
    boxes,
    flat,
    labels,
    of,
    picture,
    spot,
)


def test_excitation_is_red_inhibition_blue_zero_white_and_a_dead_unit_grey() -> None:
    fields = np.concatenate([spot(), -spot(), DEAD])
    fields[:2, :, 18, 18] = 0
    seen = picture(draw_field_grid(fields, [0, 1, 7], "conv1"))
    red, blue, grey = (box(of(colour, seen)) for colour in (RED, BLUE, MISSING_GREY))
    for top, bottom, left, right in (red, blue, grey):
        assert (bottom - top, right - left) == (TILE_SIDE, TILE_SIDE)
    assert red[0] == blue[0] < grey[0]
    assert red[2] == grey[2] < blue[2]
    pixel = TILE_SIDE // 5
    for top, _, left, _ in (red, blue):
        assert (seen[top : top + pixel, left : left + pixel] == WHITE).all()
    word = np.argwhere(seen[grey[0] : grey[1], grey[2] : grey[3], 0] < 110)
    assert (word.min(0) + word.max(0)) / 2 == pytest.approx((TILE_SIDE / 2, TILE_SIDE / 2), abs=3)


def test_a_unit_number_stands_above_its_panel() -> None:
    fields = np.concatenate([spot(), spot(), -spot()])
    figures = [draw_field_grid(fields, [0, 1, unit], "conv1") for unit in (7, 432)]
    one, other = (picture(figure) for figure in figures)
    assert [*labels(figures[0])][:3] == ["0", "1", "7"]
    changed = np.argwhere((one != other).any(-1))
    top, _, left, right = box(of(BLUE, one))
    assert top - LABEL_HEIGHT < changed[:, 0].min() < changed[:, 0].max() < top
    middle = (changed[:, 1].min() + changed[:, 1].max()) / 2
    assert middle == pytest.approx((left + right) / 2, abs=3)


def test_fields_and_units_must_go_together() -> None:
    with pytest.raises(ValueError, match="zip"):
        draw_field_grid(spot(), [0, 1], "conv1")


def test_the_picture_says_what_it_shows() -> None:
    figure = draw_field_grid(spot(), [0], "conv3, epoch 2", smooth=2.0)
    note = figure.texts[-1].get_text()
    assert figure.get_suptitle() == "conv3, epoch 2"
    side = display_side(gaussian_filter(spot().mean(1), (0, 2, 2), mode="constant"))
    for words in (f"panel {side} px", "own scale", "red + / blue −", "smoothed 2 px"):
        assert words in note.replace("\n", " ")
    assert "smoothed" not in draw_field_grid(spot(), [0], "conv3").texts[-1].get_text()


def test_a_change_shows_the_same_units_before_and_after() -> None:
    before, after = np.concatenate([spot(), -spot(), spot()]), np.concatenate([-spot(), DEAD])
    figure = draw_field_change(
        {"conv1": before, "conv2": before},
        {"conv1": after, "conv2": after},
        ("epoch 0", "epoch 6"),
        "toy",
        {"conv1": 0.0, "conv2": 1.0},
        units=2,
    )
    seen = picture(figure)
    dead = boxes(of(MISSING_GREY, seen))
    pitch = 72 + 6
    assert len(dead) == 2
    for top, bottom, left, right in dead:
        y, x = (top + bottom) // 2, (left + right) // 2
        assert bottom - top == right - left == 72
        assert seen[y - pitch, x - pitch, 0] > 1.5 * seen[y - pitch, x - pitch, 2]
        assert seen[y, x - pitch, 2] > 1.5 * seen[y, x - pitch, 0]
        assert seen[y - pitch, x, 2] > 1.5 * seen[y - pitch, x, 0]
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts.count("epoch 0") == texts.count("epoch 6") == 2
    assert {"conv1", "panel 5 px", "2 px", "conv2"} <= set(texts)


def test_a_change_has_a_bar_per_stage() -> None:
    before, after = {"conv1": flat(7), "conv2": spot()}, {"conv1": flat(7), "conv2": flat(41)}
    figure = draw_field_change(
        before, after, ("a", "b"), "toy", dict.fromkeys(before, 0.0), units=1
    )
    lengths = [right - left for _, _, left, right in boxes(of(0, picture(figure)))]
    assert lengths == [round(2 / 7 * 72), round(10 / 41 * 72)]
