"""The smallest crop of an image in which a unit computes exactly its value in the whole image."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepsal.rf.geometry import FieldGeometry
from deepsal.rf.mapping.engine.windowed_gradient import Box

IndexArray = NDArray[np.int64]


class UnitCrop(NamedTuple):
    """Pixels of an image, and the unit's (row, column) in the layer's output on them."""

    box: Box
    position: tuple[int, int]


def crop_for_unit(
    geometry: FieldGeometry, image_size: tuple[int, int], position: tuple[int, int]
) -> UnitCrop:
    """Return the crop for a unit: its value and gradient equal those in the whole image.

    Sides are ceil((r+S−1)/S)·S and origins multiples of the stride S, so that strided layers keep
    their phase. At a border the crop ends where the image ends, so that the padding is that of the
    image. A field as large as the image, or global context, gives the whole image.

    Args:
        geometry: the layer's theoretical field.
        image_size: (height, width).
        position: (row, column) of the unit in the layer's output.

    >>> crop_for_unit(FieldGeometry((11, 11), (4, 4), (2, 2)), (64, 64), (5, 0))
    UnitCrop(box=Box(top=16, bottom=32, left=0, right=16), position=(1, 0))
    """
    boxes, positions = crops_for_units(geometry, image_size, np.array([position]))
    row, column = positions[0].tolist()
    return UnitCrop(Box(*boxes[0].tolist()), (row, column))


def crops_for_units(
    geometry: FieldGeometry, image_size: tuple[int, int], positions: IndexArray
) -> tuple[IndexArray, IndexArray]:
    """Return `crop_for_unit` of many units.

    Args:
        geometry: the layer's theoretical field.
        image_size: (height, width).
        positions: (P, 2), row and column in the layer's output.

    Returns:
        Boxes (P, 4) of top, bottom, left and right, and the units' positions in them (P, 2).
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
