"""Answers of many patches laid over each other, unit on unit."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepsal.rf.crop import Crop
from deepsal.rf.theory import Geometry
from deepsal.rf.windowed import Box


class Place(NamedTuple):
    """A unit on a patch: their positions, the image, the crop, and row and column in the layer."""

    unit: int
    patch: int
    image: int
    crop: Crop
    at: tuple[int, int]


class Aligned:
    """Sums windows around each unit's own field centre; 0 beyond the image.

    Args:
        geometry: of the layer.
        image: (height, width).
        shape: (units, patches).
        window: largest side of a window; None for the whole field.
        keep: keep every patch's window, for `components`.
    """

    def __init__(
        self,
        geometry: Geometry,
        image: tuple[int, int],
        shape: tuple[int, int],
        window: int | None,
        keep: bool,
    ) -> None:
        self.geometry = geometry
        sizes = geometry.size or image
        self.sides = [min(r, n, window or n) for r, n in zip(sizes, image, strict=True)]
        self.total = np.zeros((shape[0], 3, *self.sides), dtype=np.float32)
        self.each = np.zeros((*shape, 3, *self.sides), dtype=np.float32) if keep else None
        self.activation = np.full(shape, np.nan, dtype=np.float32)
        self.centre = np.full((*shape, 2), np.nan, dtype=np.float32)

    def window(self, place: Place) -> Box:
        """Return the window around a unit in the frame of its crop; it may reach beyond."""
        top, left = self._first(place.at)
        window = Box(top, top + self.sides[0], left, left + self.sides[1])
        return window.moved(-place.crop.top, -place.crop.left)

    def add(self, place: Place, value: NDArray[np.float32], box: Box, activation: float) -> None:
        """Add a unit's answer, value (3, h', w') in a box of its crop."""
        window = self.window(place)
        kept = box.within(window)
        source = kept.moved(-box.top, -box.left)
        target = kept.moved(-window.top, -window.left)
        if kept.bottom > kept.top and kept.right > kept.left:
            seen = value[:, source.rows, source.columns]
            self.total[place.unit, :, target.rows, target.columns] += seen
            if self.each is not None:
                self.each[place.unit, place.patch, :, target.rows, target.columns] = seen
        self.activation[place.unit, place.patch] = activation
        self.centre[place.unit, place.patch] = [
            first + (side - 1) / 2
            for first, side in zip(self._first(place.at), self.sides, strict=True)
        ]

    def count(self) -> NDArray[np.int64]:
        """Return how many patches each unit has, (U,)."""
        return np.asarray(np.isfinite(self.activation).sum(1))

    def mean(self) -> NDArray[np.float32]:
        """Return the mean over patches, (U, 3, h, w); NaN for a unit without one."""
        with np.errstate(invalid="ignore"):
            return np.asarray(self.total / self.count()[:, None, None, None].astype(np.float32))

    def components(self, number: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the leading eigenvectors (U, C, 3, h, w) and eigenvalues of the covariance.

        Over a unit's n patches, with divisor n − 1, by way of the n x n Gram matrix; NaN where n
        patches have no such component (C ≥ n).
        """
        shape = len(self.total), number, *self.total.shape[1:]
        vectors = np.full(shape, np.nan, dtype=np.float32)
        values = np.full(shape[:2], np.nan, dtype=np.float32)
        if self.each is None or not number:
            return vectors, values
        for u, count in enumerate(self.count()):
            there = np.isfinite(self.activation[u])
            rows = self.each[u, there].reshape(count, -1)
            rows = rows - rows.mean(0) if count else rows
            variance, mix = np.linalg.eigh(rows @ rows.T / max(count - 1, 1))
            for c in range(min(number, count - 1)):
                direction = rows.T @ mix[:, -1 - c]
                length = np.linalg.norm(direction)
                if length > 0:
                    vectors[u, c] = (direction / length).reshape(shape[2:])
                    values[u, c] = max(variance[-1 - c], 0)
        return vectors, values

    def _first(self, at: tuple[int, int]) -> tuple[int, int]:
        """Return the window's first row and column in the image."""
        first = []
        for axis in (0, 1):
            window, stride = self.sides[axis], self.geometry.stride[axis]
            size = self.geometry.size[axis] if self.geometry.size else window
            offset = self.geometry.offset[axis] if self.geometry.size else (window - stride) // 2
            first.append(at[axis] * stride - offset + (size - window) // 2)
        return first[0], first[1]
