"""Fields as coloured tiles: red excites, blue inhibits, 0 is white."""

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

SHOWN_SHARE = 0.98
SIGN_LEGEND = "red + / blue −"
TILE_SIDE = 92
"""Side of a tile in pixels of a PNG."""
MISSING_GREY = 217
SIGNED_COLOURS = np.rint(
    255 * mpl.colormaps["RdBu_r"].resampled(255)(np.arange(255))[:, :3]
).astype(np.uint8)


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
