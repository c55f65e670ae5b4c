"""Figures of fields, read back: pixels, labels and tiles."""

import io

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import find_objects, label

from deepsal.rf.plot.tile_board import png_bytes
from deepsal.rf.plot.tiles import SIGNED_COLOURS, TILE_SIDE

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
