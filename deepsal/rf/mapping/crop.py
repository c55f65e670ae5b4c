"""Smallest crops of an image in which units compute exactly their values in the whole image."""

import numpy as np
from numpy.typing import NDArray

from deepsal.rf.geometry import FieldGeometry

IndexArray = NDArray[np.int64]


def crops_for_units(
    geometry: FieldGeometry, image_size: tuple[int, int], positions: IndexArray
) -> tuple[IndexArray, IndexArray]:
    """Return the crops for units: their values and gradients equal those in the whole image.

    Sides are ceil((r+S−1)/S)·S and origins multiples of the stride S, so that strided layers keep
    their phase. At a border the crop ends where the image ends, so that the padding is that of the
    image. A field as large as the image, or global context, gives the whole image.

    Args:
        geometry: the layer's theoretical field.
        image_size: (height, width).
        positions: (P, 2), row and column in the layer's output.

    Returns:
        Boxes (P, 4) of top, bottom, left and right, and the units' positions in them (P, 2).

    >>> geometry = FieldGeometry((11, 11), (4, 4), (2, 2))
    >>> boxes, positions = crops_for_units(geometry, (64, 64), np.array([[5, 0]]))
    >>> boxes.tolist(), positions.tolist()
    ([[16, 32, 0, 16]], [[1, 0]])
    """
    size = geometry.size or image_size
    rows, columns = (
        _crop_span(size[a], geometry.stride[a], geometry.offset[a], image_size[a], positions[:, a])
        for a in (0, 1)
    )
    return np.column_stack([*rows[:2], *columns[:2]]), np.column_stack([rows[2], columns[2]])


def _crop_span(
    size: int, stride: int, offset: int, length: int, position: IndexArray
) -> tuple[IndexArray, IndexArray, IndexArray]:
    """Return start, end and the unit's position along one axis of an image of some length."""
    side = -(-(size + stride - 1) // stride) * stride
    if side >= length:
        return np.zeros_like(position), np.full_like(position, length), position
    last = (length - side) // stride * stride
    start = ((position * stride - offset) // stride * stride).clip(0, last)
    return start, np.where(start == last, length, start + side), position - start // stride
