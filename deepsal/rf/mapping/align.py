"""Sum of the fields of many patches, aligned on the units, on the device of the fields."""

from typing import NamedTuple

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
        image_size: (height, width).
        shape: (units U, patches K).
        window: largest side of a window in pixels; None for the whole field.
        device: of the sums.
        groups: (U, K), the group of each patch, numbers from 0; None: one group.

    Attributes:
        window_sides: height and width (h, w) of the windows.
        field_sum: (U, G, 3, h, w), a sum per group.
        activation: (U, K), NaN before a patch is added.
    """

    def __init__(
        self,
        geometry: FieldGeometry,
        image_size: tuple[int, int],
        shape: tuple[int, int],
        window: int | None,
        device: torch.device | str = "cpu",
        groups: IndexArray | None = None,
    ) -> None:
        self.geometry = geometry
        sizes = geometry.size or image_size
        self.window_sides = [min(r, n, window or n) for r, n in zip(sizes, image_size, strict=True)]
        self.group_of_patch = np.zeros(shape, np.int64) if groups is None else groups
        self.groups = torch.from_numpy(self.group_of_patch).to(device)
        count = int(self.group_of_patch.max(initial=0)) + 1
        self.field_sum = torch.zeros(shape[0], count, 3, *self.window_sides, device=device)
        self.activation = torch.full(shape, torch.nan, device=device)

    def window_origins(self, positions: IndexArray) -> IndexArray:
        """Return the first row and column of windows in the image, (P, 2), also negative ones.

        Args:
            positions: (P, 2), row and column of the units in the layer's output.
        """
        starts = []
        for axis in (0, 1):
            window, stride = self.window_sides[axis], self.geometry.stride[axis]
            size = self.geometry.size[axis] if self.geometry.size else window
            offset = self.geometry.offset[axis] if self.geometry.size else -((stride - window) // 2)
            starts.append(positions[:, axis] * stride - offset + (size - window) // 2)
        return np.column_stack(starts)

    def window_centres(self, positions: IndexArray) -> NDArray[np.float32]:
        """Return the centres of windows in the image, (P, 2), pixels; see `window_origins`."""
        half = (np.array(self.window_sides) - 1) / 2
        return (self.window_origins(positions) + half).astype(np.float32)

    def add(
        self,
        unit: Tensor,
        patch: Tensor,
        origin: Tensor,
        field: Tensor,
        box: Box,
        activation: Tensor,
    ) -> None:
        """Add fields of units on patches; the host does not wait for the device.

        Args:
            unit: (B,), rows of the sum.
            patch: (B,).
            origin: (B, 2), first row and column of each window in the frame of its crop.
            field: (B, 3, h, w), the values in a box of each crop.
            box: the same for all crops.
            activation: (B,).
        """
        self.activation[unit, patch] = activation.to(self.activation)
        if min(field.shape[-2:]) == 0:
            return
        rows, inside_rows = self._window_cells(origin[:, 0] - box.top, 0, field.shape[-2])
        columns, inside_columns = self._window_cells(origin[:, 1] - box.left, 1, field.shape[-1])
        sample = torch.arange(len(field), device=field.device)
        cut = field[sample[:, None, None], :, rows[:, :, None], columns[:, None]].movedim(-1, 1)
        inside = inside_rows[:, None, :, None] & inside_columns[:, None, None]
        # the only sum, and last: a batch that fails for lack of memory has added nothing
        row = unit * self.field_sum.shape[1] + self.groups[unit, patch]
        self.field_sum.flatten(0, 1).index_add_(0, row, torch.where(inside, cut, 0).float())

    def _window_cells(self, start: Tensor, axis: int, length: int) -> tuple[Tensor, Tensor]:
        """Return the cells of windows along an axis of a box, and whether each lies in the box."""
        cells = start[:, None] + torch.arange(self.window_sides[axis], device=start.device)
        return cells.clamp(0, length - 1), (cells >= 0) & (cells < length)

    def means(self) -> "PatchMeans":
        """Return means over the patches that were added; the device is read twice."""
        sums, activation = self.field_sum.cpu().numpy(), self.activation.cpu().numpy()
        added = np.isfinite(activation)
        of_group = self.group_of_patch[..., None] == np.arange(sums.shape[1])
        counts = (of_group & added[..., None]).sum(1, dtype=np.float32)
        with np.errstate(invalid="ignore", divide="ignore"):
            return PatchMeans(
                sums.sum(1) / counts.sum(1)[:, None, None, None],
                sums / counts[..., None, None, None],
                activation,
            )


class PatchMeans(NamedTuple):
    """Means over patches, NaN without a patch.

    field: (U, 3, h, w) · groups: (U, G, 3, h, w), over each group · activation: (U, K).
    """

    field: NDArray[np.float32]
    groups: NDArray[np.float32]
    activation: NDArray[np.float32]
