"""The smallest piece of an image in which a unit does exactly what it does in the whole image."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepsal.rf.geometry import FieldGeometry

IndexArray = NDArray[np.int64]


class UnitCrop(NamedTuple):
    """Rows [top, bottom) and columns [left, right) of an image, and the unit's place in them."""

    top: int
    bottom: int
    left: int
    right: int
    unit: tuple[int, int]


def crop_for_unit(
    geometry: FieldGeometry, image: tuple[int, int], unit: tuple[int, int]
) -> UnitCrop:
    """Return the crop for a unit: value and gradient in it equal those in the full image.

    Sides are ceil((r+S−1)/S)·S and origins multiples of the stride S, so that strided layers keep
    their phase; at a border the crop ends where the image ends, so that padding is the image's
    own. A field as large as the image, or global context, gives the whole image.

    Args:
        geometry: the layer's theoretical field.
        image: (height, width).
        unit: (row, column) in the layer's output.

    >>> crop_for_unit(FieldGeometry((11, 11), (4, 4), (2, 2)), (64, 64), (5, 0))
    UnitCrop(top=16, bottom=32, left=0, right=16, unit=(1, 0))
    """
    boxes, units = crops_for_units(geometry, image, np.array([unit]))
    top, bottom, left, right = boxes[0].tolist()
    row, column = units[0].tolist()
    return UnitCrop(top, bottom, left, right, (row, column))


def crops_for_units(
    geometry: FieldGeometry, image: tuple[int, int], units: IndexArray
) -> tuple[IndexArray, IndexArray]:
    """Return `crop_for_unit` for many units at a time.

    Args:
        geometry: the layer's theoretical field.
        image: (height, width).
        units: (P, 2), row and column in the layer's output.

    Returns:
        Boxes (P, 4) of top, bottom, left and right, and the units' places in them (P, 2).
    """
    size = geometry.size or image
    rows, columns = (
        _crop_span(size[a], geometry.stride[a], geometry.offset[a], image[a], units[:, a])
        for a in (0, 1)
    )
    return np.column_stack([*rows[:2], *columns[:2]]), np.column_stack([rows[2], columns[2]])


def _crop_span(
    size: int, stride: int, offset: int, length: int, unit: IndexArray
) -> tuple[IndexArray, IndexArray, IndexArray]:
    side = -(-(size + stride - 1) // stride) * stride
    if side >= length:
        return np.zeros_like(unit), np.full_like(unit, length), unit
    last = (length - side) // stride * stride
    start = ((unit * stride - offset) // stride * stride).clip(0, last)
    return start, np.where(start == last, length, start + side), unit - start // stride
