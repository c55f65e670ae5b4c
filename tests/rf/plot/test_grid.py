from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.ndimage import find_objects, gaussian_filter, label

from deepsal.rf.plot.grid import (
    DPI,
    FADED_SHARE,
    LABEL_HEIGHT,
    MISSING_GREY,
    SIGNED_COLOURS,
    TILE_SIDE,
    FieldReliability,
    display_side,
    draw_field_change,
    draw_field_grid,
    field_tiles,
    resampling_matrix,
    round_length,
)
from tests.rf.plot.support import labels, picture

BLUE, WHITE, RED = SIGNED_COLOURS[0], SIGNED_COLOURS[127], SIGNED_COLOURS[254]
DEAD = np.full((1, 3, 41, 41), np.nan, np.float32)


def spot(at: int = 20, side: int = 41) -> NDArray[np.float32]:
    field = np.zeros((1, 3, side, side), np.float32)
    field[..., at - 2 : at + 3, at - 2 : at + 3] = 1
    return field


def flat(side: int) -> NDArray[np.float32]:
    return np.ones((1, 3, side, side), np.float32)


def boxes(mask: NDArray[np.bool]) -> list[tuple[int, int, int, int]]:
    """Return top, bottom, left, right (ends excluded) of all connected parts but specks."""
    parts = find_objects(label(mask)[0])
    ends = [(y.start, y.stop, x.start, x.stop) for y, x in parts]
    return [(t, b, le, r) for t, b, le, r in ends if b - t >= 3 and r - le >= 12]


def box(mask: NDArray[np.bool]) -> tuple[int, int, int, int]:
    (only,) = boxes(mask)
    return only


def of(colour: NDArray[np.uint8] | int, seen: NDArray[np.uint8]) -> NDArray[np.bool]:
    return np.asarray((seen == colour).all(-1))


def test_the_panel_holds_the_field_and_little_more() -> None:
    assert display_side(np.concatenate([spot(), spot(), flat(41)]).mean(1)) == 5
    assert display_side(spot(at=18).mean(1)) == 9
    assert display_side(spot(at=4, side=10).mean(1)) == 5
    assert display_side(DEAD.mean(1)) == 41
    assert display_side(0 * spot().mean(1)) == 41
    assert display_side(np.ones((1, 8, 12), np.float32)) == 12


@pytest.mark.parametrize("shape", [(9, 9), (8, 8), (7, 12), (10, 5)])
def test_the_shown_side_is_the_first_square_with_98_percent(shape: tuple[int, int]) -> None:
    height, width = shape
    y, x = (np.arange(n) - (n - 1) // 2 for n in shape)
    maps = np.random.default_rng(0).normal(size=(5, *shape)).astype(np.float32)
    maps *= np.exp(-(y[:, None] ** 2 + x**2) / 6).astype(np.float32)

    def share(side: int) -> float:
        top, left = (max((n - side) // 2, 0) for n in shape)
        inside = np.abs(maps[:, top : top + min(side, height), left : left + min(side, width)])
        return float(np.median(inside.sum((1, 2)) / np.abs(maps).sum((1, 2))))

    sides = [side for side in range(3, max(shape), 2) if share(side) >= 0.98]
    assert display_side(maps) == (sides or [max(shape)])[0]


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


def test_every_panel_has_its_own_scale_symmetric_about_zero() -> None:
    maps = np.concatenate([spot(), 1000 * spot(), -0.5 * spot()]).mean(1)
    maps[:, 20, 20] /= -4
    weak, strong, opposite = field_tiles(maps, 5)
    assert np.array_equal(weak, strong)
    assert (weak[0, 0] == RED).all()
    assert (opposite[0, 0] == BLUE).all()
    assert (weak[TILE_SIDE // 2, TILE_SIDE // 2] == SIGNED_COLOURS[95]).all()


def test_a_tile_keeps_the_shape_of_a_field_that_is_not_square() -> None:
    wide = np.ones((1, 9, 41), np.float32)
    top, bottom, left, right = box(of(RED, field_tiles(wide, 41, 82)[0]))
    assert (top, bottom, left, right) == (32, 50, 0, 82)
    assert of(WHITE, field_tiles(wide, 41, 82)[0]).sum() == (82 - 18) * 82


def test_a_tile_averages_where_it_shrinks_and_repeats_where_it_enlarges() -> None:
    values = np.arange(6, dtype=np.float32)
    assert (resampling_matrix(6, 6, 3) @ values).tolist() == [0.5, 2.5, 4.5]
    assert (resampling_matrix(6, 6, 12) @ values).tolist() == np.repeat(values, 2).tolist()
    assert resampling_matrix(129, 101, TILE_SIDE).sum(1) == pytest.approx(1)
    assert resampling_matrix(3, 5, 5).sum(1).tolist() == [0, 1, 1, 1, 0]


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


@pytest.mark.parametrize(("side", "length"), [(3, 1), (7, 2), (15, 5), (41, 10), (61, 20)])
def test_the_bar_is_as_long_as_its_label_says(side: int, length: int) -> None:
    figure = draw_field_grid(flat(side), [0], "conv1")
    seen = picture(figure)
    top, bottom, left, right = box(of(RED, seen))
    start, end = box(of(0, seen[bottom:]))[2:]
    assert start == left
    assert (end - start) / (right - left) == pytest.approx(length / side, abs=0.5 / TILE_SIDE)
    assert [*labels(figure)][-1] == f"{length} px"
    assert bottom - top == TILE_SIDE


def test_the_bar_is_also_in_degrees_where_they_are_known() -> None:
    figure = draw_field_grid(flat(61), [0], "conv1", pixels_per_degree=25.0)
    assert [*labels(figure)][-1] == "20 px = 0.8°"


def test_lengths_are_round() -> None:
    lengths = [round_length(about) for about in np.geomspace(1, 900, 50)]
    assert set(lengths) == {1, 2, 5, 10, 20, 50, 100, 200, 500, 1000}
    assert lengths == sorted(lengths)


def test_the_picture_says_what_it_shows() -> None:
    figure = draw_field_grid(spot(), [0], "conv3, epoch 2", smooth=2.0)
    note = figure.texts[-1].get_text()
    assert figure.get_suptitle() == "conv3, epoch 2"
    side = display_side(gaussian_filter(spot().mean(1), (0, 2, 2), mode="constant"))
    for words in (f"panel {side} px", "own scale", "red + / blue −", "smoothed 2 px"):
        assert words in note.replace("\n", " ")
    assert "smoothed" not in draw_field_grid(spot(), [0], "conv3").texts[-1].get_text()


@pytest.mark.parametrize("count", [1, 4, 64])
def test_a_long_title_is_broken_and_covers_no_number(count: int) -> None:
    fields = np.repeat(spot(), count, 0)
    title = "efficientnet_lite0, conv4/strongest: mean gradient of 64 patches, " * 3
    figure = draw_field_grid(fields, list(range(count)), title)
    seen, drawn = picture(figure), np.asarray(figure.axes[0].images[0].get_array())
    numbers = [text.get_window_extent() for text in figure.axes[0].texts]
    for text in figure.texts:
        extent = text.get_window_extent()
        assert 0 <= extent.x0 < extent.x1 <= seen.shape[1]
        assert 0 <= extent.y0 < extent.y1 <= seen.shape[0]
        rows = slice(seen.shape[0] - int(extent.y1), seen.shape[0] - int(extent.y0))
        assert (drawn[rows] == 255).all()
        assert not extent.count_overlaps(numbers)


@pytest.mark.parametrize(("count", "width"), [(64, range(800, 901)), (16, range(400, 461))])
def test_a_picture_is_one_image_shown_pixel_by_pixel(count: int, width: range) -> None:
    figure = draw_field_grid(np.repeat(spot(), count, 0), list(range(count)), "conv4")
    (image,) = figure.axes[0].images
    drawn, seen = np.asarray(image.get_array()), picture(figure)
    assert len(figure.axes) == 1
    assert drawn.shape == seen.shape
    assert seen.shape[1] in width
    tiles = (drawn != 255).any(-1)
    assert tiles.sum() > 0.9 * count * TILE_SIDE**2
    assert np.array_equal(drawn[tiles], seen[tiles])


@pytest.mark.parametrize("kind", ["pdf", "svg"])
def test_a_vector_file_has_one_image_and_its_labels_as_text(kind: str, tmp_path: Path) -> None:
    figure = draw_field_grid(np.repeat(spot(), 4, 0), [3, 5, 7, 432], "conv4, epoch 2")
    file = tmp_path / f"grid.{kind}"
    with mpl.rc_context({"svg.fonttype": "none", "pdf.compression": 0}):
        figure.savefig(file, format=kind)
    content = file.read_bytes()
    assert content.count(b"<image" if kind == "svg" else b"/Subtype /Image") == 1
    assert b"432" in content


def test_the_file_loses_nothing() -> None:
    figure = Figure(figsize=(1, 1), dpi=DPI)
    noise = np.random.default_rng(0).integers(0, 256, (DPI, DPI, 3), np.uint8)
    figure.figimage(noise, origin="upper")
    assert np.array_equal(picture(figure), noise)


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


def test_reliability_is_under_each_field_and_an_unreliable_one_is_faded() -> None:
    fields = np.repeat(spot(), 4, 0)
    fields[3] = 0
    reliability = FieldReliability(np.array([0.97, 0.2, -0.1, np.nan]), samples=512, target=0.9)
    figure = draw_field_grid(fields, [0, 1, 2, 3], "conv4", reliability=reliability)
    texts = [text.get_text() for text in figure.axes[0].texts]
    for words in (
        "reliability .97",
        "unreliable:\n512 pairs;\nabout 18,000\nneeded",
        "unreliable:\n512 pairs;\nmany more\nneeded",
        "reliability -.10",
        "no response",
    ):
        assert texts.count(words) == 1
    seen = np.asarray(figure.axes[0].images[0].get_array())
    faded = (255 - FADED_SHARE * (255 - RED.astype(np.float32))).astype(np.uint8)
    assert len(boxes(of(RED, seen))) == 1
    assert len(boxes(of(faded, seen))) == 2
