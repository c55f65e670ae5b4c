"""Renderings of a pattern in 8 bits; two of the three can change the form of a blob."""

import numpy as np
from numpy.typing import NDArray

from deepsal.rf.measures.profile import Field


def render_wrapped(pattern: Field) -> NDArray[np.uint8]:
    """Render a pattern as an 8-bit overflow does: rounded towards zero, modulo 256.

    Figure 4.6 of He & Pugeault 2018 is consistent with this rendering: a smooth blob of more than
    255 grey levels becomes rings, and a larger c gives more rings.

    Args:
        pattern: (U, 3, h, w) in grey levels.

    Returns:
        (U, h, w, 3).

    Raises:
        ValueError: another shape, or a value that is not finite; as in `render_clipped` and
            `render_scaled`.

    >>> ramp = np.float32([-1.5, -0.5, 0, 254.9, 255, 256, 600]) * np.ones((1, 3, 1, 1), np.float32)
    >>> render_wrapped(ramp)[0, 0, :, 0].tolist()
    [255, 0, 0, 254, 255, 0, 88]
    """
    return np.mod(np.trunc(_colours_last(pattern)), 256).astype(np.uint8)


def render_clipped(pattern: Field) -> NDArray[np.uint8]:
    """Render a pattern as an 8-bit saturation does: rounded towards zero, clipped to 0 … 255.

    Args:
        pattern: (U, 3, h, w) in grey levels.

    Returns:
        (U, h, w, 3).

    >>> ramp = np.float32([-1.5, -0.5, 0, 254.9, 255, 256, 600]) * np.ones((1, 3, 1, 1), np.float32)
    >>> render_clipped(ramp)[0, 0, :, 0].tolist()
    [0, 0, 0, 254, 255, 255, 255]
    """
    return np.trunc(np.clip(_colours_last(pattern), 0, 255)).astype(np.uint8)


def render_scaled(pattern: Field) -> NDArray[np.uint8]:
    """Render a pattern divided by its own largest |w| over pixels and colours, whatever c.

    If no pattern of the array has a negative value, 0 is black and the largest 255. Otherwise all
    are rendered symmetrically: 0 is mid grey (128), ± the largest |w| white (255) and black (1),
    so that the units of one grid can be compared. A pattern of zeros is black, or mid grey.

    Args:
        pattern: (U, 3, h, w).

    Returns:
        (U, h, w, 3).

    >>> ramp = np.float32([0, 1, 2, 4]) * np.ones((1, 3, 1, 1), np.float32)
    >>> render_scaled(ramp)[0, 0, :, 0].tolist(), render_scaled(100 * ramp)[0, 0, :, 0].tolist()
    ([0, 64, 128, 255], [0, 64, 128, 255])
    >>> render_scaled(ramp - 2)[0, 0, :, 0].tolist()
    [1, 64, 128, 255]
    """
    w = _colours_last(pattern)
    largest = np.abs(w).max((1, 2, 3), keepdims=True)
    w /= np.where(largest > 0, largest, 1)
    levels = 128 + 127 * w if (w < 0).any() else 255 * w
    return np.rint(levels).astype(np.uint8)


def _colours_last(pattern: Field) -> NDArray[np.float64]:
    """Return a copy in double precision, colours last."""
    if pattern.ndim != 4 or pattern.shape[1] != 3:
        raise ValueError(f"pattern must be (U, 3, h, w), not {pattern.shape}")
    if not np.isfinite(pattern).all():
        raise ValueError("pattern must be finite; leave out the units that have none (NaN)")
    return np.moveaxis(pattern, 1, -1).astype(np.float64)
