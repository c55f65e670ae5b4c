"""The smallest piece of an image in which a unit does exactly what it does in the whole image."""

from typing import NamedTuple

from deepsal.rf.theory import Geometry


class Crop(NamedTuple):
    """Rows [top, bottom) and columns [left, right) of an image, and the unit's place in them."""

    top: int
    bottom: int
    left: int
    right: int
    unit: tuple[int, int]


def crop(geometry: Geometry, image: tuple[int, int], unit: tuple[int, int]) -> Crop:
    """Return the crop for a unit: value and gradient in it equal those in the full image.

    Sides are ceil((r+S−1)/S)·S and origins multiples of the stride S, so that strided layers keep
    their phase; at a border the crop ends where the image ends, so that padding is the image's
    own. A field as large as the image, or global context, gives the whole image.

    Args:
        geometry: the layer's theoretical field.
        image: (height, width).
        unit: (row, column) in the layer's output.

    >>> crop(Geometry((11, 11), (4, 4), (2, 2)), (64, 64), (5, 0))
    Crop(top=16, bottom=32, left=0, right=16, unit=(1, 0))
    """
    size = geometry.size or image
    (top, bottom, row), (left, right, column) = (
        _span(size[a], geometry.stride[a], geometry.offset[a], image[a], unit[a]) for a in (0, 1)
    )
    return Crop(top, bottom, left, right, (row, column))


def _span(size: int, stride: int, offset: int, length: int, unit: int) -> tuple[int, int, int]:
    side = -(-(size + stride - 1) // stride) * stride
    if side >= length:
        return 0, length, unit
    last = (length - side) // stride * stride
    start = min(max((unit * stride - offset) // stride * stride, 0), last)
    return start, length if start == last else start + side, unit - start // stride
