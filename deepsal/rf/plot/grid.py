"""Grids of fields: one tile per unit, red excites, blue inhibits, 0 is white.

Every figure here is a matplotlib Figure of one image and vector text: save it as PNG, PDF or SVG.
"""

import io
import textwrap
import zlib
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from deepsal.rf.measures.profile import luminance_field, smooth_field
from deepsal.rf.measures.reliability import pairs_needed

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
MIN_SHOWN_RELIABILITY = 0.5
"""Fields of a lower reliability are drawn faded, with a warning."""
FADED_SHARE = 0.3
"""Part of the colour that a faded tile keeps."""
COUNTABLE_SAMPLES = 10**6
"""Larger numbers of samples that are needed are not stated: they are not known so well."""


class FieldReliability(NamedTuple):
    """Reliability of the fields of a figure, and the effort for it.

    value: of each tile, NaN for a unit that does not respond, or of patches where it is unknown ·
    samples: their number · target: the reliability for which the needed samples are stated ·
    sample_name: "pairs" of noise images, or "patches".
    """

    value: NDArray[np.float64]
    samples: int
    target: float = 0.9
    sample_name: str = "pairs"

    def caption(self, *index: int) -> str:
        """Return the text under a tile.

        >>> FieldReliability(np.array([0.934, -0.02, 0.999, np.nan]), 64).caption(0)
        'reliability .93'
        """
        value = float(self.value[index])
        if np.isnan(value):
            return "no response" if self.sample_name == "pairs" else "reliability unknown"
        return f"reliability {format_share(value)}"

    def warning(self, *index: int) -> str:
        """Return the text across a tile whose field is not reliable, else "".

        >>> FieldReliability(np.array([0.2]), 512, 0.9).warning(0).splitlines()
        ['unreliable:', '512 pairs;', 'about 18,000', 'needed']
        """
        value = float(self.value[index])
        if not value < MIN_SHOWN_RELIABILITY:
            return ""
        needed = float(pairs_needed(np.array(value), self.samples, self.target))
        number = f"about {float(f'{needed:.2g}'):,.0f}"
        number = "many more" if needed > COUNTABLE_SAMPLES else number
        return f"unreliable:\n{self.samples:,} {self.sample_name};\n{number}\nneeded"


def format_share(value: float) -> str:
    """Return a number of at most 1 with two decimals, rounded down above .99.

    >>> [format_share(value) for value in (0.934, -0.02, 0.999, 1.0)]
    ['.93', '-.02', '.99', '1.00']
    """
    rounded = f"{min(value, 0.99) if value < 1 else value:.2f}"
    return rounded.replace("0.", ".", 1)


def draw_field_grid(
    field: NDArray[np.float32],
    units: Sequence[int],
    title: str,
    smooth: float = 0.0,
    pixels_per_degree: float | None = None,
    reliability: FieldReliability | None = None,
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
        reliability: of the U fields, written under the panels; a field below .5 is faded. None: it
            is unknown.
    """
    maps = smooth_field(luminance_field(field), smooth)
    side = display_side(maps)
    columns = int(np.ceil(np.sqrt(len(maps))))
    note = f"panel {side} px, each its own scale, {SIGN_LEGEND}{smoothing_note(smooth)}"
    shape, below = (-(-len(maps) // columns), columns), caption_height(reliability)
    board = TileBoard(shape, TILE_SIDE, LABEL_HEIGHT, title, note, below=below)
    tiles = field_tiles(maps, side)
    for i, (unit, tile, dead) in enumerate(zip(units, tiles, dead_units(maps), strict=True)):
        row, column = divmod(i, columns)
        board.place_field(row, column, tile, bool(dead), reliability, i)
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
    reliability: Mapping[str, FieldReliability] | None = None,
) -> Figure:
    """Draw the same units of every stage at two checkpoints, one row above the other.

    Args:
        before: `{stage: field (U, 3, h, w)}` at the first checkpoint.
        after: the same at the second.
        labels: of the two rows, such as ("epoch 0", "epoch 6").
        title: what was trained on what.
        smooth: Gaussian blur per stage, standard deviation in pixels.
        units: number of units of each stage to draw, the first ones.
        reliability: of the fields of each stage, (2, U), before and after; None: it is unknown.
    """
    note = f"signed fields, {SIGN_LEGEND}, each panel its own scale, smoothed by stride/4"
    above, size, below = [LABEL_HEIGHT, TILE_GAP] * len(before), 72, 0
    if reliability is not None:
        above, below = [TILE_GAP] * 2 * len(before), LINE_HEIGHT
    board = TileBoard((2 * len(before), units), size, above, title, note, left=150, below=below)
    for i, stage in enumerate(before):
        of_stage = None if reliability is None else reliability[stage]
        maps = [
            smooth_field(luminance_field(field[stage]), smooth[stage]) for field in (before, after)
        ]
        side = max(display_side(m) for m in maps)
        for time, (label, fields) in enumerate(zip(labels, maps, strict=True)):
            row = 2 * i + time
            tiles = zip(field_tiles(fields[:units], side, size), dead_units(fields), strict=False)
            for column, (tile, dead) in enumerate(tiles):
                board.place_field(row, column, tile, bool(dead), of_stage, time, column)
            board.write_text(
                board.left[0] - 6, board.top[row] + size // 2, label, "right", "center"
            )
        middle = board.top[2 * i + 1] - (TILE_GAP + below) // 2
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
        below: space under each row.

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
        below: int = 0,
    ) -> None:
        rows, columns = shape
        content = left + columns * (size + TILE_GAP) - TILE_GAP + PAGE_MARGIN
        width = max(NARROWEST_WIDTH, content)
        title, note = textwrap.fill(title, width // 8), textwrap.fill(note, width // 6)
        lines, foot = (text.count("\n") + 1 for text in (title, note))
        self.size = size
        self.left = [left + (width - content) // 2 + i * (size + TILE_GAP) for i in range(columns)]
        spaces = np.cumsum(np.broadcast_to(above, rows))
        start, height = 4 + 17 * lines, size + below
        self.top = [start + int(space) + i * height for i, space in enumerate(spaces)]
        self.bottom = self.top[-1] + size + below
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

    def place_field(
        self,
        row: int,
        column: int,
        tile: NDArray[np.uint8],
        dead: bool,
        reliability: FieldReliability | None,
        *index: int,
    ) -> None:
        """Place the tile of a field, faded if it is not reliable, with its reliability under it.

        Args:
            row: of the board.
            column: of the board.
            tile: (size, size, 3).
            dead: whether the unit has no field.
            reliability: of the fields of the figure; None: it is unknown.
            index: of this field in it.
        """
        if dead or reliability is None:
            self.place_tile(row, column, tile, "dead" if dead else "")
            return
        if warning := reliability.warning(*index):
            tile = (255 - FADED_SHARE * (255 - tile.astype(np.float32))).astype(np.uint8)
        self.place_tile(row, column, tile, warning)
        x, y = self.left[column] + self.size // 2, self.top[row] + self.size + LINE_HEIGHT - 3
        self.write_text(x, y, reliability.caption(*index))

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


def caption_height(reliability: FieldReliability | None) -> int:
    """Return the space that a tile's reliability takes."""
    return 0 if reliability is None else LINE_HEIGHT


def field_tiles(
    maps: NDArray[np.float32],
    side: int,
    size: int = TILE_SIDE,
    scale_axes: tuple[int, ...] = (-2, -1),
    power: float = 1.0,
) -> NDArray[np.uint8]:
    """Return the central squares of maps (…, h, w) as colours (…, size, size, 3).

    A pixel of a tile is the mean of the pixels it covers; a map smaller than the square is
    surrounded by 0. A map that is not finite becomes a grey tile.

    Args:
        maps: luminance fields.
        side: of the square.
        size: of the tile.
        scale_axes: the axes over which the largest |w| gets the full colour; by default each map's.
        power: the colour is the sign of w times so high a power of |w| in parts of the largest.
    """
    dead = dead_units(maps)
    rows, columns = (resampling_matrix(n, side, size) for n in maps.shape[-2:])
    w = rows @ np.where(dead[..., None, None], 0, maps) @ columns.T
    largest = np.abs(w).max(scale_axes, keepdims=True)
    w /= np.where(largest > 0, largest, 1)
    if power != 1:
        w = np.sign(w) * np.abs(w) ** np.float32(power)
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
