"""Fields of many patches laid over each other, unit on unit, on the device they come from."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepsal.rf.geometry import FieldGeometry
from deepsal.rf.mapping.crop import IndexArray
from deepsal.rf.mapping.engine.windowed_gradient import Box


class AlignedFieldSum:
    """Sums windows around each unit's own field centre; 0 beyond the image.

    Args:
        geometry: of the layer.
        image: (height, width).
        shape: (units, patches).
        window: largest side of a window; None for the whole field.
        keep: keep every patch's window, for `components`.
        device: where the sums are made.
    """

    def __init__(
        self,
        geometry: FieldGeometry,
        image: tuple[int, int],
        shape: tuple[int, int],
        window: int | None,
        keep: bool,
        device: torch.device | str = "cpu",
    ) -> None:
        self.geometry = geometry
        sizes = geometry.size or image
        self.sides = [min(r, n, window or n) for r, n in zip(sizes, image, strict=True)]
        self.total = torch.zeros(shape[0], 3, *self.sides, device=device)
        self.each = torch.zeros(*shape, 3, *self.sides, device=device) if keep else None
        self.activation = torch.full(shape, torch.nan, device=device)

    def first(self, at: IndexArray) -> IndexArray:
        """Return the first row and column of windows in the image, (P, 2); they may lie off it.

        Args:
            at: (P, 2), row and column of the units in the layer's output.
        """
        starts = []
        for axis in (0, 1):
            window, stride = self.sides[axis], self.geometry.stride[axis]
            size = self.geometry.size[axis] if self.geometry.size else window
            offset = self.geometry.offset[axis] if self.geometry.size else (window - stride) // 2
            starts.append(at[:, axis] * stride - offset + (size - window) // 2)
        return np.column_stack(starts)

    def centre(self, at: IndexArray) -> NDArray[np.float32]:
        """Return the centres of windows in the image, (P, 2), pixels; arguments as of `first`."""
        return (self.first(at) + (np.array(self.sides) - 1) / 2).astype(np.float32)

    def add(
        self,
        unit: Tensor,
        patch: Tensor,
        first: Tensor,
        value: Tensor,
        box: Box,
        activation: Tensor,
    ) -> None:
        """Add fields of units on patches; nothing is read back from the device.

        Args:
            unit: (B,), rows of the sum.
            patch: (B,).
            first: (B, 2), first row and column of each window in the frame of its crop.
            value: (B, 3, h, w), what lies in a box of each crop.
            box: the same for all crops.
            activation: (B,).
        """
        self.activation[unit, patch] = activation.to(self.activation)
        if min(value.shape[-2:]) == 0:
            return
        rows, inside_rows = self._cells(first[:, 0] - box.top, 0, value.shape[-2])
        columns, inside_columns = self._cells(first[:, 1] - box.left, 1, value.shape[-1])
        sample = torch.arange(len(value), device=value.device)
        cut = value[sample[:, None, None], :, rows[:, :, None], columns[:, None]].movedim(-1, 1)
        inside = inside_rows[:, None, :, None] & inside_columns[:, None, None]
        cut = torch.where(inside, cut, 0).float()
        if self.each is not None:
            self.each[unit, patch] = cut
        self.total.index_add_(0, unit, cut)  # last: where memory is short nothing is added twice

    def _cells(self, first: Tensor, axis: int, length: int) -> tuple[Tensor, Tensor]:
        """Return the cells of windows along an axis of a box, and which of them it holds."""
        cells = first[:, None] + torch.arange(self.sides[axis], device=first.device)
        return cells.clamp(0, length - 1), (cells >= 0) & (cells < length)

    def mean(self) -> NDArray[np.float32]:
        """Return the mean over patches, (U, 3, h, w); NaN for a unit without one."""
        count = self.activation.isfinite().sum(1).float()
        return np.asarray((self.total / count[:, None, None, None]).cpu())

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
        present, each = self.activation.isfinite().cpu().numpy(), self.each.cpu().numpy()
        for u, there in enumerate(present):
            rows = each[u, there].reshape(count := int(there.sum()), -1)
            rows = rows - rows.mean(0) if count else rows
            variance, mix = np.linalg.eigh(rows @ rows.T / max(count - 1, 1))
            for c in range(min(number, count - 1)):
                direction = rows.T @ mix[:, -1 - c]
                length = np.linalg.norm(direction)
                if length > 0:
                    vectors[u, c] = (direction / length).reshape(shape[2:])
                    values[u, c] = max(variance[-1 - c], 0)
        return vectors, values
