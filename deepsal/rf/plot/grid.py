"""Pictures of fields: the same units in the same places, red excites, blue inhibits, 0 is white."""

import io
import textwrap
import zlib
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from deepsal.rf.measures.profile import luminance_field, smooth_field

SHOWN_SHARE = 0.98
SIGN_LEGEND = "red + / blue −"
TILE_SIDE, TILE_GAP, PAGE_MARGIN, LABEL_HEIGHT, LINE_HEIGHT = 92, 6, 18, 15, 13
"""In pixels of the picture, as every length here: side of a tile, spaces, a line of small print."""
NARROWEST_WIDTH = 450
DPI = 128  # a power of two, so that inches · DPI are whole pixels again
TEXT_COLOUR, MISSING_GREY = (80, 80, 80), 217
SIGNED_COLOURS = np.rint(
    255 * mpl.colormaps["RdBu_r"].resampled(255)(np.arange(255))[:, :3]
).astype(np.uint8)
LABEL_FONT = ImageFont.truetype(f"{mpl.get_data_path()}/fonts/ttf/DejaVuSans.ttf", 10)


def draw_field_grid(
    field: NDArray[np.float32],
    units: Sequence[int],
    title: str,
    smooth: float = 0.0,
    degree: float | None = None,
) -> Figure:
    """Draw the luminance fields of many units as one grid.

    Every panel has its own scale, symmetric about 0, and all show the same central square, which
    holds 98 % of the |field| of the median unit; its side stands below the grid.

    Args:
        field: float32 (U, 3, h, w); NaN units are drawn grey, as dead.
        units: U channel numbers, written above the panels.
        title: method, stage, checkpoint.
        smooth: Gaussian blur before drawing, standard deviation in pixels; said in the picture.
        degree: pixels per degree of visual angle, where known.
    """
    maps = smooth_field(luminance_field(field), smooth)
    side = display_side(maps)
    columns = int(np.ceil(np.sqrt(len(maps))))
    note = f"panel {side} px, each its own scale, {SIGN_LEGEND}{smoothing_note(smooth)}"
    board = TileBoard((-(-len(maps) // columns), columns), TILE_SIDE, LABEL_HEIGHT, title, note)
    for i, (unit, tile) in enumerate(zip(units, field_tiles(maps, side), strict=True)):
        row, column = divmod(i, columns)
        board.put(row, column, tile)
        board.write(board.left[column] + TILE_SIDE // 2, board.top[row] - 3, str(unit), "ms")
    board.bar(board.left[0], board.bottom + 10, side, degree)
    return board.figure()


def draw_field_change(
    before: Mapping[str, NDArray[np.float32]],
    after: Mapping[str, NDArray[np.float32]],
    labels: tuple[str, str],
    title: str,
    smooth: Mapping[str, float],
    units: int = 12,
) -> Figure:
    """Draw the same units of every stage at two checkpoints, one row above the other.

    Args:
        before: `{stage: field (U, 3, h, w)}` at the first checkpoint.
        after: the same at the second.
        labels: of the two rows, such as ("epoch 0", "epoch 6").
        title: what was trained on what.
        smooth: Gaussian blur per stage, standard deviation in pixels.
        units: how many of each stage are shown, the first ones.
    """
    note = f"signed fields, {SIGN_LEGEND}, each panel its own scale, smoothed by stride/4"
    above, size = [LABEL_HEIGHT, TILE_GAP] * len(before), 72
    board = TileBoard((2 * len(before), units), size, above, title, note, left=150)
    for i, stage in enumerate(before):
        maps = [
            smooth_field(luminance_field(field[stage]), smooth[stage]) for field in (before, after)
        ]
        side = max(display_side(m) for m in maps)
        for row, label, shown in zip((2 * i, 2 * i + 1), labels, maps, strict=True):
            for column, tile in enumerate(field_tiles(shown[:units], side, size)):
                board.put(row, column, tile)
            board.write(board.left[0] - 6, board.top[row] + size // 2, label, "rm")
        middle = board.top[2 * i + 1] - TILE_GAP // 2
        board.write(PAGE_MARGIN, middle - 18, stage, "lm", (0, 0, 0))
        board.write(PAGE_MARGIN, middle, f"panel {side} px", "lm")
        board.bar(PAGE_MARGIN, middle + 18, side)
    return board.figure()


class TileBoard:
    """A white image that takes tiles in rows and columns, and small print around them.

    A picture is one array shown once: a matplotlib axis per panel takes ten times as long.

    Args:
        shape: rows and columns.
        size: side of a tile.
        above: space above the rows, one for all or one each.
        title: stands on top, broken into lines where it is too long; so is the note at the bottom.
        note: how to read the picture.
        left: space left of the first column.

    Attributes:
        left, top: where the columns and the rows begin.
        bottom: where the last row ends.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        size: int,
        above: int | Sequence[int],
        title: str,
        note: str,
        left: int = PAGE_MARGIN,
    ) -> None:
        rows, columns = shape
        needed = left + columns * (size + TILE_GAP) - TILE_GAP + PAGE_MARGIN
        width = max(NARROWEST_WIDTH, needed)
        self.title, self.note = textwrap.fill(title, width // 8), textwrap.fill(note, width // 6)
        lines, foot = (text.count("\n") + 1 for text in (self.title, self.note))
        self.size = size
        self.left = [left + (width - needed) // 2 + i * (size + TILE_GAP) for i in range(columns)]
        spaces = np.cumsum(np.broadcast_to(above, rows))
        self.top = [4 + 17 * lines + int(space) + i * size for i, space in enumerate(spaces)]
        self.bottom = self.top[-1] + size
        self.image = Image.new("RGBA", (width, self.bottom + 26 + LINE_HEIGHT * foot), "white")
        self.pen = ImageDraw.Draw(self.image)

    def put(self, row: int, column: int, tile: NDArray[np.uint8]) -> None:
        """Place a tile (size, size, 3)."""
        self.image.paste(Image.fromarray(tile), (self.left[column], self.top[row]))

    def write(
        self, x: int, y: int, text: str, anchor: str, ink: tuple[int, int, int] = TEXT_COLOUR
    ) -> None:
        """Write small print; `anchor` as in Pillow, such as "ms": middle of the baseline."""
        self.pen.text((x, y), text, ink, LABEL_FONT, anchor)

    def bar(self, x: int, y: int, side: int, degree: float | None = None) -> None:
        """Draw a bar of a round length from (x, y) to the right, for panels `side` pixels wide."""
        length = round_length(side / 3)
        end = x + round(length * self.size / side)
        self.pen.rectangle((x, y - 1, end - 1, y + 1), "black")
        angle = f" = {length / degree:.2g}°" if degree is not None else ""
        self.write(end + 6, y, f"{length} px{angle}", "lm")

    def figure(self) -> Figure:
        """Return the picture with its title and note; one axis, whose units are its pixels."""
        width, height = self.image.size
        figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.axis("off")
        extent = (0, width, height, 0)
        axes.imshow(np.asarray(self.image), interpolation="nearest", aspect="auto", extent=extent)
        figure.suptitle(self.title, fontsize=7, y=1 - 4 / height, va="top")
        figure.text(0.5, 5 / height, self.note, ha="center", fontsize=5.5, color="0.3")
        return figure


def field_tiles(
    maps: NDArray[np.float32], side: int, size: int = TILE_SIDE, scale: tuple[int, ...] = (-2, -1)
) -> NDArray[np.uint8]:
    """Return the central squares of maps (…, h, w) as colours (…, size, size, 3).

    A pixel of a tile is the mean of what it covers; around a map smaller than the square lies 0. A
    map that is not finite becomes a grey tile that says dead.

    Args:
        maps: luminance fields.
        side: of the square.
        size: of the tile.
        scale: the axes over which the largest |w| gets the full colour; by default each map's own.
    """
    alive = np.asarray(np.isfinite(maps).all((-2, -1)))
    rows, columns = (resampling_matrix(n, side, size) for n in maps.shape[-2:])
    w = rows @ np.where(alive[..., None, None], maps, 0) @ columns.T
    largest = np.abs(w).max(scale, keepdims=True)
    w /= np.where(largest > 0, largest, 1)
    colours = np.take(SIGNED_COLOURS, np.rint(127 * (1 + w)).astype(np.uint8), axis=0)
    grey = Image.new("RGB", (size, size), (MISSING_GREY,) * 3)
    ImageDraw.Draw(grey).text((size // 2, size // 2), "dead", TEXT_COLOUR, LABEL_FONT, "mm")
    colours[~alive] = np.asarray(grey)
    return np.asarray(colours)


def resampling_matrix(n: int, side: int, size: int) -> NDArray[np.float32]:
    """Return how much each of `size` equal parts of the middle `side` of n pixels covers each.

    Rows sum to 1 (inside the n pixels), so the matrix averages where it shrinks and repeats where
    it enlarges.

    >>> resampling_matrix(5, 3, 6) @ np.arange(5, dtype=np.float32)
    array([1., 1., 2., 2., 3., 3.], dtype=float32)
    """
    edges = (n - side) // 2 + np.arange(size + 1) * (side / size)
    before = np.clip(edges[:, None] - np.arange(n), 0, 1)
    return np.asarray(np.diff(before, axis=0) * (size / side), np.float32)


def display_side(maps: NDArray[np.float32]) -> int:
    """Return the odd side of the central square that holds 98 % of the median unit's |field|."""
    alive = np.abs(maps[np.isfinite(maps).all((1, 2))])
    height, width = maps.shape[1:]
    largest: int = max(height, width)
    if not alive.any():
        return largest
    y, x = (np.abs(np.arange(n) - (n - 1) // 2) for n in (height, width))
    ring = np.maximum(y[:, None], x).ravel()
    outwards = np.take(alive.reshape(len(alive), -1), ring.argsort(), axis=1)
    within = outwards.cumsum(1, dtype=np.float64)[:, np.bincount(ring).cumsum() - 1]
    share = within / np.maximum(within[:, -1:], np.finfo(np.float32).tiny)
    enough = np.flatnonzero(np.median(share, axis=0) >= SHOWN_SHARE)
    return min(max(2 * int(enough[0]) + 1, 3), largest) if len(enough) else largest


def round_length(about: float) -> int:
    """Return that of 1, 2, 5, 10, 20, 50, … whose ratio to a positive number is closest to 1.

    >>> [round_length(side / 3) for side in (3, 7, 41, 129)]
    [1, 2, 10, 50]
    """
    lengths = np.outer(10 ** np.arange(5), (1, 2, 5)).ravel()
    return int(lengths[np.abs(np.log(lengths / about)).argmin()])


def smoothing_note(smooth: float) -> str:
    """Return what a note says of the blur."""
    return f", smoothed {smooth:g} px" if smooth else ""


def png_bytes(figure: Figure) -> bytes:
    """Return the figure as a PNG file's bytes.

    Packing only run lengths is four times as fast as matplotlib's default, for a tenth more bytes.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", pil_kwargs={"compress_type": zlib.Z_RLE})
    return buffer.getvalue()
