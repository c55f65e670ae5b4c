from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

from deepsal.rf.plot.grid import draw_field_grid
from deepsal.rf.plot.tile_board import (
    DPI,
    FADED_SHARE,
    FieldReliability,
    round_length,
)
from deepsal.rf.plot.tiles import (
    TILE_SIDE,
)
from tests.rf.plot.support import (
    RED,
    box,
    boxes,
    flat,
    labels,
    of,
    picture,
    spot,
)


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
