"""Grids of fields: one tile per unit, red excites, blue inhibits, 0 is white.

Every figure here is a matplotlib Figure of one image and vector text: save it as PNG, PDF or SVG.
"""

import io
import textwrap
import zlib
from collections.abc import Mapping, Sequence
from typing import Literal

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from deepsal.rf.measures.profile import luminance_field, smooth_field

SHOWN_SHARE = 0.98
SIGN_LEGEND = "red + / blue −"
TILE_SIDE, TILE_GAP, PAGE_MARGIN, LABEL_HEIGHT, LINE_HEIGHT = 92, 6, 18, 15, 13
"""In pixels of a PNG, as every length here: side of a tile, spaces, height of a line of text."""
NARROWEST_WIDTH = 450
DPI = 128  # a power of two, so that inches · DPI are whole pixels again
Horizontal = Literal["left", "center", "right"]
Vertical = Literal["center", "baseline"]
TEXT_COLOUR, MISSING_GREY = "0.3", 217
SIGNED_COLOURS = np.rint(
    255 * mpl.colormaps["RdBu_r"].resampled(255)(np.arange(255))[:, :3]
).astype(np.uint8)
LABEL_SIZE = 5.6
"""Font size of labels and notes, points."""


def draw_field_grid(
    field: NDArray[np.float32],
    units: Sequence[int],
    title: str,
    smooth: float = 0.0,
    pixels_per_degree: float | None = None,
) -> Figure:
    """Draw the luminance fields of many units as one grid.

    Every panel has its own scale, symmetric about 0. All show the same central square, which holds
    98 % of the |field| of the median unit; the note below the grid states its side.

    Args:
        field: float32 (U, 3, h, w); a unit of NaN is drawn grey and labelled dead.
        units: U channel numbers, written above the panels.
        title: method, stage, checkpoint.
        smooth: Gaussian blur before drawing, standard deviation in pixels; stated in the note.
        pixels_per_degree: of visual angle; None if unknown.
    """
    maps = smooth_field(luminance_field(field), smooth)
    side = display_side(maps)
    columns = int(np.ceil(np.sqrt(len(maps))))
    note = f"panel {side} px, each its own scale, {SIGN_LEGEND}{smoothing_note(smooth)}"
    board = TileBoard((-(-len(maps) // columns), columns), TILE_SIDE, LABEL_HEIGHT, title, note)
    tiles = field_tiles(maps, side)
    for i, (unit, tile, dead) in enumerate(zip(units, tiles, dead_units(maps), strict=True)):
        row, column = divmod(i, columns)
        board.place_tile(row, column, tile, "dead" if dead else "")
        board.write_text(board.left[column] + TILE_SIDE // 2, board.top[row] - 3, str(unit))
    board.draw_scale_bar(board.left[0], board.bottom + 10, side, pixels_per_degree)
    return board.to_figure()


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
        units: number of units of each stage to draw, the first ones.
    """
    note = f"signed fields, {SIGN_LEGEND}, each panel its own scale, smoothed by stride/4"
    above, size = [LABEL_HEIGHT, TILE_GAP] * len(before), 72
    board = TileBoard((2 * len(before), units), size, above, title, note, left=150)
    for i, stage in enumerate(before):
        maps = [
            smooth_field(luminance_field(field[stage]), smooth[stage]) for field in (before, after)
        ]
        side = max(display_side(m) for m in maps)
        for row, label, fields in zip((2 * i, 2 * i + 1), labels, maps, strict=True):
            tiles = zip(field_tiles(fields[:units], side, size), dead_units(fields), strict=False)
            for column, (tile, dead) in enumerate(tiles):
                board.place_tile(row, column, tile, "dead" if dead else "")
            board.write_text(
                board.left[0] - 6, board.top[row] + size // 2, label, "right", "center"
            )
        middle = board.top[2 * i + 1] - TILE_GAP // 2
        board.write_text(PAGE_MARGIN, middle - 18, stage, "left", "center", "black")
        board.write_text(PAGE_MARGIN, middle, f"panel {side} px", "left", "center")
        board.draw_scale_bar(PAGE_MARGIN, middle + 18, side)
    return board.to_figure()


class TileBoard:
    """A figure of tiles in rows and columns, with text around them.

    All tiles are one image on one axis, whose units are the pixels of a PNG: a matplotlib axis per
    panel takes ten times as long.

    Args:
        shape: rows and columns.
        size: side of a tile.
        above: space above the rows, one number for all or one each.
        title: at the top, broken into lines if it is too long; so is the note at the bottom.
        note: the scale and the meaning of the colours.
        left: space left of the first column.

    Attributes:
        left, top: start of the columns and the rows.
        bottom: end of the last row.
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
        content = left + columns * (size + TILE_GAP) - TILE_GAP + PAGE_MARGIN
        width = max(NARROWEST_WIDTH, content)
        title, note = textwrap.fill(title, width // 8), textwrap.fill(note, width // 6)
        lines, foot = (text.count("\n") + 1 for text in (title, note))
        self.size = size
        self.left = [left + (width - content) // 2 + i * (size + TILE_GAP) for i in range(columns)]
        spaces = np.cumsum(np.broadcast_to(above, rows))
        self.top = [4 + 17 * lines + int(space) + i * size for i, space in enumerate(spaces)]
        self.bottom = self.top[-1] + size
        height = self.bottom + 26 + LINE_HEIGHT * foot
        self.figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
        self.figure.suptitle(title, fontsize=7, y=1 - 4 / height, va="top")
        self.figure.text(0.5, 5 / height, note, ha="center", fontsize=LABEL_SIZE, color="0.3")
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.axis("off")
        self.pixels = np.full((height, width, 3), 255, np.uint8)

    def place_tile(self, row: int, column: int, tile: NDArray[np.uint8], text: str = "") -> None:
        """Place a tile (size, size, 3), with a text in its centre."""
        top, left = self.top[row], self.left[column]
        self.pixels[top : top + self.size, left : left + self.size] = tile
        if text:
            middle = self.size // 2
            self.write_text(left + middle, top + middle, text, "center", "center")

    def write_text(
        self,
        x: int,
        y: int,
        text: str,
        horizontal: Horizontal = "center",
        vertical: Vertical = "baseline",
        colour: str = TEXT_COLOUR,
    ) -> None:
        """Write a label at a place of the figure; alignments as in matplotlib."""
        self.axes.text(x, y, text, ha=horizontal, va=vertical, color=colour, fontsize=LABEL_SIZE)

    def draw_scale_bar(
        self, x: int, y: int, side: int, pixels_per_degree: float | None = None
    ) -> None:
        """Draw a bar of a round length from (x, y) to the right, for panels of `side` pixels."""
        length = round_length(side / 3)
        width = round(length * self.size / side)
        bar = Rectangle((x, y - 1), width, 3, color="black", linewidth=0)
        self.axes.add_patch(bar)
        angle = f" = {length / pixels_per_degree:.2g}°" if pixels_per_degree is not None else ""
        self.write_text(x + width + 6, y, f"{length} px{angle}", "left", "center")

    def to_figure(self) -> Figure:
        """Return the figure with the tiles placed so far."""
        height, width = self.pixels.shape[:2]
        extent = (0, width, height, 0)
        self.axes.imshow(self.pixels, interpolation="none", aspect="auto", extent=extent)
        return self.figure


def field_tiles(
    maps: NDArray[np.float32],
    side: int,
    size: int = TILE_SIDE,
    scale_axes: tuple[int, ...] = (-2, -1),
) -> NDArray[np.uint8]:
    """Return the central squares of maps (…, h, w) as colours (…, size, size, 3).

    A pixel of a tile is the mean of the pixels it covers; a map smaller than the square is
    surrounded by 0. A map that is not finite becomes a grey tile.

    Args:
        maps: luminance fields.
        side: of the square.
        size: of the tile.
        scale_axes: the axes over which the largest |w| gets the full colour; by default each map's.
    """
    dead = dead_units(maps)
    rows, columns = (resampling_matrix(n, side, size) for n in maps.shape[-2:])
    w = rows @ np.where(dead[..., None, None], 0, maps) @ columns.T
    largest = np.abs(w).max(scale_axes, keepdims=True)
    w /= np.where(largest > 0, largest, 1)
    colours = np.take(SIGNED_COLOURS, np.rint(127 * (1 + w)).astype(np.uint8), axis=0)
    colours[dead] = MISSING_GREY
    return np.asarray(colours)


def dead_units(maps: NDArray[np.float32]) -> NDArray[np.bool]:
    """Return which of the maps (…, h, w) are not finite: units without a patch."""
    return np.asarray(~np.isfinite(maps).all((-2, -1)))


def resampling_matrix(n: int, side: int, size: int) -> NDArray[np.float32]:
    """Return the share of each of n pixels in `size` equal parts of the middle `side` pixels.

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
    alive = np.abs(maps[~dead_units(maps)])
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
    """Return the one of 1, 2, 5, 10, 20, 50, … whose ratio to a positive number is closest to 1.

    >>> [round_length(side / 3) for side in (3, 7, 41, 129)]
    [1, 2, 10, 50]
    """
    lengths = np.outer(10 ** np.arange(5), (1, 2, 5)).ravel()
    return int(lengths[np.abs(np.log(lengths / about)).argmin()])


def smoothing_note(smooth: float) -> str:
    """Return the part of a note that states the blur."""
    return f", smoothed {smooth:g} px" if smooth else ""


def png_bytes(figure: Figure) -> bytes:
    """Return a figure as the bytes of a PNG file.

    Compressing run lengths only is four times as fast as matplotlib's default, for a tenth more
    bytes.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", pil_kwargs={"compress_type": zlib.Z_RLE})
    return buffer.getvalue()
