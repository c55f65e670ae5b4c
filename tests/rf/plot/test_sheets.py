import numpy as np
import pytest
from numpy.typing import NDArray

from deepsal.rf.plot import sheets
from deepsal.rf.plot.tile_board import FieldReliability
from deepsal.rf.plot.tiles import MISSING_GREY, SIGNED_COLOURS, TILE_SIDE
from tests.rf.plot.support import labels, picture, sheet_tiles

RED, WHITE = SIGNED_COLOURS[254], SIGNED_COLOURS[127]
YELLOW = np.array(sheets.OUTLINE_YELLOW)


def extremes(mask: NDArray[np.bool]) -> tuple[list[int], list[int]]:
    """Return the first and the last (row, column) that are true."""
    places = np.argwhere(mask)
    return places.min(0).tolist(), places.max(0).tolist()


def growing(gains: NDArray[np.float32]) -> NDArray[np.float32]:
    """Flat fields (T, U, 3, 9, 9) of these values (T, U)."""
    return np.broadcast_to(gains[..., None, None, None], (*gains.shape, 3, 9, 9)).copy()


def test_a_unit_has_one_scale_at_all_checkpoints_and_its_own() -> None:
    gains = np.array([[1, 0.001], [-1, 0.004], [4, 0.003]], np.float32)
    figure = sheets.draw_evolution_sheet(
        growing(gains), [3, 8], ["epoch 0", "epoch 1", "epoch 2"], "conv1"
    )
    centres = {
        place: tile[TILE_SIDE // 2, TILE_SIDE // 2].tolist()
        for place, tile in sheet_tiles(figure).items()
    }
    share = {(0, 0): 1 / 4, (0, 1): -1 / 4, (0, 2): 1, (1, 0): 1 / 4, (1, 1): 1, (1, 2): 3 / 4}
    expected = {
        place: SIGNED_COLOURS[round(127 * (1 + np.sign(s) * abs(s) ** 0.5))].tolist()
        for place, s in share.items()
    }
    assert centres == expected
    assert "one scale per row, colour by √|w|" in figure.texts[-1].get_text()


def test_rows_are_units_and_columns_checkpoints() -> None:
    fields = growing(np.ones((3, 2), np.float32))
    headings = ["before", "epoch 1", "epoch 2"]
    figure = sheets.draw_evolution_sheet(fields, [3, 512], headings, "conv1")
    seen, places = picture(figure), labels(figure)
    columns = [int(places[heading][0]) - TILE_SIDE // 2 for heading in headings]
    rows = [int(places[unit][1]) - TILE_SIDE // 2 for unit in ("3", "512")]
    for y in rows:
        for x in columns:
            assert (seen[y : y + TILE_SIDE, x : x + TILE_SIDE] == RED).all()
            assert (seen[y - 1, x : x + TILE_SIDE] == 255).all()
    assert all(places[heading][1] < rows[0] for heading in headings)
    assert all(places[unit][0] < columns[0] for unit in ("3", "512"))


def test_a_unit_that_dies_is_grey_from_then_on_and_keeps_its_scale() -> None:
    gains = np.array([[1, np.nan], [2, np.nan], [np.nan, np.nan]], np.float32)
    figure = sheets.draw_evolution_sheet(growing(gains), [0, 1], ["a", "b", "c"], "conv1")
    tiles = sheet_tiles(figure)
    dead = {place for place, tile in tiles.items() if (tile[0, 0] == MISSING_GREY).all()}
    assert dead == {(0, 2), (1, 0), (1, 1), (1, 2)}
    assert (tiles[0, 1] == RED).all()
    assert [text.get_text() for text in figure.axes[0].texts].count("dead") == 4


def test_a_field_that_grows_does_not_start_white() -> None:
    gains = np.array([[0.1, 1], [1, 1]], np.float32)
    tiles = sheet_tiles(sheets.draw_evolution_sheet(growing(gains), [0, 1], ["a", "b"], "conv1"))
    start, end, constant = (tiles[place][0, 0].astype(int) for place in ((0, 0), (0, 1), (1, 0)))
    assert (end == RED).all()
    assert (constant == RED).all(), "each row has a scale of its own"
    assert (start == SIGNED_COLOURS[round(127 * (1 + 0.1**0.5))]).all()
    assert start.min() < 230


def test_the_shown_side_is_common_and_cuts_no_checkpoint() -> None:
    fields = np.zeros((2, 1, 3, 21, 21), np.float32)
    fields[0, ..., 9:12, 9:12] = 1
    fields[1, ..., 6:15, 6:15] = 1
    figure = sheets.draw_evolution_sheet(fields, [0], ["a", "b"], "conv1", pixels_per_degree=10.0)
    assert "panel 9 px" in figure.texts[-1].get_text()
    tiles = sheet_tiles(figure)
    assert (tiles[0, 1] == RED).all()
    red = (tiles[0, 0] == RED).all(-1)
    assert red.sum() == pytest.approx(TILE_SIDE**2 / 9, rel=0.07)
    assert "2 px = 0.2°" in labels(figure)


def test_a_long_heading_is_broken_above_its_column() -> None:
    fields = growing(np.ones((2, 1), np.float32))
    headings = ["before", "after 12400 steps of conv4"]
    places = labels(sheets.draw_evolution_sheet(fields, [0], headings, "conv1"))
    first, last = places["after 12400"], places["steps of conv4"]
    assert first[0] == last[0]
    assert first[1] < last[1] == places["before"][1]


def test_fields_units_and_checkpoints_must_go_together() -> None:
    fields = growing(np.ones((2, 2), np.float32))
    with pytest.raises(ValueError, match="zip"):
        sheets.draw_evolution_sheet(fields, [0], ["a", "b"], "conv1")
    with pytest.raises(ValueError, match="zip"):
        sheets.draw_evolution_sheet(fields, [0, 1], ["a"], "conv1")


def drawn(value: int, shape: tuple[int, int], outline: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the tile of one flat patch."""
    images = np.full((1, 1, *shape, 3), value, np.uint8)
    figure = sheets.draw_patch_sheet(images, outline, [0], "conv1", np.ones((1, 1), bool))
    return sheet_tiles(figure)[0, 0]


def test_the_box_outlines_the_field_in_the_middle_of_the_patch() -> None:
    double = TILE_SIDE // 2
    tile = drawn(100, (double, double), (10, 20))
    middle, rows, columns = TILE_SIDE // 2, 10, 20
    (top, left), (bottom, right) = extremes((tile == YELLOW).all(-1))
    assert (top, bottom) == (middle - rows - 1, middle + rows)
    assert (left, right) == (middle - columns - 1, middle + columns)
    (top, left), (bottom, right) = extremes((tile == 0).all(-1))
    assert (top, bottom) == (middle - rows - 2, middle + rows + 1)
    assert (left, right) == (middle - columns - 2, middle + columns + 1)
    assert (tile[top + 4 : bottom - 3, left + 4 : right - 3] == 100).all()
    assert (tile[: top - 1] == 100).all()


@pytest.mark.parametrize("value", [0, 255, 200])
def test_the_box_is_seen_on_dark_and_on_light(value: int) -> None:
    tile = drawn(value, (46, 46), (10, 20)).astype(int)
    box = np.array([(tile == YELLOW).all(-1), (tile == 0).all(-1)])
    far = max(abs(tile[line].mean(-1) - value).min() for line in box if line.any())
    assert far > 100


def test_a_field_larger_than_the_patch_is_cut_and_the_note_says_so() -> None:
    images = np.full((1, 1, 24, 46, 3), 100, np.uint8)
    present = np.ones((1, 1), bool)
    figure = sheets.draw_patch_sheet(images, (851, 20), [0], "conv5", present)
    note = figure.texts[-1].get_text()
    assert "851 × 20 px, cut at the patch" in note.replace("\n", " ")
    (top, _), (bottom, _) = extremes((sheet_tiles(figure)[0, 0] == YELLOW).all(-1))
    assert (top, bottom) == (22 - 1, 70)
    note = sheets.draw_patch_sheet(images, (24, 20), [0], "conv5", present).texts[-1].get_text()
    assert "cut" not in note


def test_an_oblong_patch_stands_on_white_with_its_box_in_the_middle() -> None:
    tile = drawn(100, (24, 46), (10, 10))
    assert (tile[:22] == 255).all()
    assert (tile[22:34, 0] == 100).all()
    assert (tile[70:] == 255).all()
    (top, left), (bottom, right) = extremes((tile == YELLOW).all(-1))
    assert (top + bottom, left + right) == (TILE_SIDE - 1, TILE_SIDE - 1)


def test_a_patch_keeps_its_colours_and_its_orientation() -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, 1, 46, 46, 3), np.uint8)
    figure = sheets.draw_patch_sheet(image, (4, 4), [0], "conv1", np.ones((1, 1), bool))
    assert np.array_equal(sheet_tiles(figure)[0, 0][:40:2, :40:2], image[0, 0, :20, :20])


def test_a_missing_patch_is_grey_and_has_no_box() -> None:
    images = np.full((2, 3, 46, 46, 3), 100, np.uint8)
    present = np.array([[True, True, False], [False, False, False]])
    figure = sheets.draw_patch_sheet(
        images, (10, 10), [4, 9], "conv1", present, pixels_per_degree=20.0
    )
    grey = {place for place, tile in sheet_tiles(figure).items() if (tile == MISSING_GREY).all()}
    assert grey == {(0, 2), (1, 0), (1, 1), (1, 2)}
    assert "grey: no patch" in figure.texts[-1].get_text().replace("\n", " ")
    assert {"unit", "4", "9", "patch 1", "patch 3", "20 px = 1°"} <= set(labels(figure))


def test_a_patch_is_followed_by_the_field_on_it() -> None:
    images = np.full((1, 2, 46, 46, 3), 100, np.uint8)
    fields = np.zeros((1, 2, 3, 9, 9), np.float32)
    fields[:, 0, :, 4, 4], fields[:, 1] = 1, np.nan
    present = np.array([[True, False]])
    figure = sheets.draw_patch_sheet(images, (9, 9), [4], "conv1", present, fields=fields)
    headings = {"patch 1", "patch 2", "field on it", "dead"}
    assert headings <= set(labels(figure))
    tiles = sheet_tiles(figure)
    middle = TILE_SIDE // 2
    red, green, blue = tiles[0, 1][middle, middle].astype(int)
    assert red > green + 50
    assert red > blue + 50
    assert (tiles[0, 2] == MISSING_GREY).all()


RADIUS = np.arange(9.0)
DOG = np.exp(-(RADIUS**2) / 4) - 0.4 * np.exp(-(RADIUS**2) / 16)


def test_few_units_have_an_axis_each_and_fill_it() -> None:
    profile = np.stack([5 * DOG, -DOG, np.full(9, np.nan), 0 * DOG, DOG])
    figure = sheets.draw_profile_sheet(profile, RADIUS, [3, 5, 7, 9, 11], "conv1")
    assert len(figure.axes) == 5
    first, second, dead, silent = (axis.lines for axis in figure.axes[:4])
    assert np.asarray(first[-1].get_ydata()) == pytest.approx(DOG / DOG[0])
    assert np.asarray(second[-1].get_ydata()) == pytest.approx(-DOG / DOG[0])
    assert np.asarray(first[-1].get_xdata()).tolist() == RADIUS.tolist()
    assert not np.any(silent[-1].get_ydata())
    assert not dead
    assert [t.get_text() for t in figure.axes[2].texts] == ["unit 7", "dead"]
    assert figure.axes[2].get_facecolor()[:3] == pytest.approx((MISSING_GREY / 255,) * 3)
    assert np.asarray(first[0].get_ydata()).tolist() == [0, 0]
    seen = picture(figure).astype(int)
    for axis, sign in zip(figure.axes[:2], (1, -1), strict=True):
        x, y = axis.transData.transform((0.3, sign * 0.5))
        red, _, blue = seen[seen.shape[0] - round(y), round(x)]
        assert sign * (red - blue) > 80


def test_degrees_stand_above_where_they_are_known() -> None:
    figure = sheets.draw_profile_sheet(DOG[None], RADIUS, [0], "conv1", pixels_per_degree=4.0)
    picture(figure)
    (above,) = figure.axes[0].child_axes
    assert above.get_xlim() == pytest.approx((0, 2))
    assert "degrees" in figure.get_supxlabel()
    plain = sheets.draw_profile_sheet(DOG[None], RADIUS, [0], "conv1")
    assert not plain.axes[0].child_axes
    assert "degrees" not in plain.get_supxlabel()


def test_many_units_share_an_axis_with_median_and_quartiles() -> None:
    rng = np.random.default_rng(0)
    profile = np.concatenate([rng.normal(size=(20, 9)), np.full((2, 9), np.nan)])
    figure = sheets.draw_profile_sheet(profile, RADIUS, list(range(22)), "conv1")
    (axis,) = figure.axes
    scaled = profile[:20] / np.abs(profile[:20]).max(1, keepdims=True)
    assert len(axis.lines) == 1 + 20 + 1
    assert np.asarray(axis.lines[-1].get_ydata()) == pytest.approx(np.median(scaled, 0))
    band = axis.collections[0].get_paths()[0].vertices
    for at in (0, 4, 8):
        edges = np.asarray(band)[np.asarray(band)[:, 0] == at, 1]
        assert edges.min() == pytest.approx(np.percentile(scaled[:, at], 25))
        assert edges.max() == pytest.approx(np.percentile(scaled[:, at], 75))
    legend = axis.get_legend()
    assert legend is not None
    assert legend.get_title().get_text() == "20 units, 2 dead"


def test_all_dead_is_said() -> None:
    figure = sheets.draw_profile_sheet(np.full((20, 9), np.nan), RADIUS, list(range(20)), "conv1")
    assert [text.get_text() for text in figure.axes[0].texts] == ["all dead"]
    picture(figure)


def test_reliability_is_stated_for_every_checkpoint_and_profile() -> None:
    reliability = FieldReliability(np.array([[0.9], [0.1]]), samples=64, target=0.9)
    fields = growing(np.ones((2, 1), np.float32))
    figure = sheets.draw_evolution_sheet(
        fields, [3], ["epoch 0", "epoch 2"], "conv1", reliability=reliability
    )
    texts = [text.get_text() for text in figure.axes[0].texts]
    for words in (
        "reliability .90",
        "reliability .10",
        "unreliable:\n64 pairs;\nabout 5,200\nneeded",
    ):
        assert texts.count(words) == 1
    lines = sheets.draw_profile_sheet(
        np.repeat(DOG[None], 2, 0),
        RADIUS,
        [3, 5],
        "conv1",
        reliability=reliability._replace(value=np.array([0.9, 0.1])),
    )
    texts = [text.get_text() for axis in lines.axes for text in axis.texts]
    assert texts == ["unit 3\nreliability .90", "unit 5\nreliability .10", "unreliable"]
