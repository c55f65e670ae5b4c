"""Figure of tiles in rows and columns, with the reliability of their fields and a scale bar.

A figure is a matplotlib Figure of one image and vector text: save it as PNG, PDF or SVG.
"""

import io
import textwrap
import zlib
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from deepsal.rf.measures.reliability import pairs_needed

TILE_GAP, PAGE_MARGIN, LABEL_HEIGHT, LINE_HEIGHT = 6, 18, 15, 13
"""In pixels of a PNG, as every length here: spaces, and the height of a line of text."""
NARROWEST_WIDTH = 450
DPI = 128  # a power of two, so that inches · DPI are whole pixels again
Horizontal = Literal["left", "center", "right"]
Vertical = Literal["center", "baseline"]
TEXT_COLOUR = "0.3"
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
