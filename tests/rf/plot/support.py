"""Figures of fields, read back: pixels, labels and tiles."""

import io

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from deepsal.rf.plot.grid import TILE_SIDE, png_bytes


def picture(figure: Figure) -> NDArray[np.uint8]:
    """The pixels of the PNG, (height, width, 3)."""
    return np.asarray(Image.open(io.BytesIO(png_bytes(figure))).convert("RGB"))


def labels(figure: Figure) -> dict[str, tuple[float, float]]:
    """The texts on the board and their places (x, y) in pixels."""
    return {text.get_text(): text.get_position() for text in figure.axes[0].texts}


def sheet_tiles(figure: Figure) -> dict[tuple[int, int], NDArray[np.uint8]]:
    """The tiles of a sheet by row and column: the places of its unit numbers and headings."""
    texts = figure.axes[0].texts
    y = [
        t.get_position()[1]
        for t in texts
        if (t.get_horizontalalignment(), t.get_verticalalignment()) == ("right", "center")
    ]
    x = {
        t.get_position()[0]
        for t in texts
        if (t.get_horizontalalignment(), t.get_verticalalignment()) == ("center", "baseline")
    }
    pixels = np.asarray(figure.axes[0].images[0].get_array())
    half = TILE_SIDE // 2
    return {
        (row, column): pixels[int(down) - half : int(down) + half, int(at) - half : int(at) + half]
        for row, down in enumerate(y)
        for column, at in enumerate(sorted(x))
    }
