"""Fields of units on the smallest crops that give them, in batches, added to a sum.

Letters in shapes: U units, K patches each, P patches in all, N images, B crops in a batch.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from deepsal.rf.arithmetic import current_number_format
from deepsal.rf.mapping.align import AlignedFieldSum
from deepsal.rf.mapping.crop import IndexArray, crops_for_units
from deepsal.rf.mapping.engine.shared_forward import convolution_input_boxes
from deepsal.rf.mapping.engine.windowed_gradient import Box
from deepsal.rf.mapping.methods import BACKWARD_METHODS, FIELD_METHODS, REPEATING_METHODS
from deepsal.rf.mapping.readout import FieldRequest, UnitReadout
from deepsal.rf.memory import batch_size, run_in_batches

GRADIENT_ENGINES = ("auto", "windowed", "batch")


WINDOWED_IS_FASTER: dict[tuple[object, ...], bool] = {}
"""Whether windowed gradients were the faster ones, as timed in this process."""


Column = TypeVar("Column", IndexArray, Tensor)


@dataclass(frozen=True)
class PatchColumns(Generic[Column]):
    """Columns of a table of patches, (P,) each.

    unit, patch: indices in the sum · image, channel: indices in images and layer · top, left: of
    the crop in the image · row, column: of the unit in the crop's output · first_row, first_column:
    of the window in the crop.
    """

    unit: Column
    patch: Column
    image: Column
    channel: Column
    top: Column
    left: Column
    row: Column
    column: Column
    first_row: Column
    first_column: Column


class FieldExtraction:
    """Fields of units on crops, added to `aligned`.

    Args:
        network: as inside `hooks.temporary_eval_mode`.
        name: dotted name of the layer.
        images: (N, 3, H, W), on the network's device.
        units: U channels.
        patches: (U, K, 3), image, row and column; −1 for none.
        aligned: the sums.
        method: of `FIELD_METHODS`.
        samples: see `deepsal.rf.map_receptive_fields`.

    Raises:
        ValueError: no such unit, or a patch outside the layer's output.
    """

    def __init__(
        self,
        network: nn.Module,
        name: str,
        images: Tensor,
        units: Sequence[int],
        patches: IndexArray,
        aligned: AlignedFieldSum,
        method: str,
        samples: int,
    ) -> None:
        self.network, self.images, self.aligned = network, images, aligned
        self.method, self.samples = method, samples
        present = np.argwhere(patches[..., 0] >= 0)
        image, self.positions = np.split(patches[present[:, 0], present[:, 1]], [1], axis=1)
        self.boxes, inner = crops_for_units(
            aligned.geometry, (images.shape[2], images.shape[3]), self.positions
        )
        corner = self.boxes[:, ::2]
        channel = np.asarray(units, dtype=np.int64)[present[:, 0]]
        origin = aligned.window_origins(self.positions) - corner
        self.table = np.column_stack([present, image, channel, corner, inner, origin])
        self.columns = PatchColumns(*self.table.T)
        self.readout = UnitReadout(network, name, self._crop(0) if len(present) else images[:1])
        if wrong := [unit for unit in units if not 0 <= unit < self.readout.channels]:
            raise ValueError(f"{name} has units 0 … {self.readout.channels - 1}, not {wrong}")
        self.input_boxes: dict[tuple[int, ...], list[Box]] = {}
        self.crop_errors: list[Tensor] = []

    def run(self, pixels_per_pass: int | None, engine: str) -> None:
        """Add the field of every unit on every patch.

        Args:
            pixels_per_pass: of crops; None: as many as memory has room for.
            engine: of `GRADIENT_ENGINES`.

        Raises:
            ValueError: a crop does not reproduce the full image.
        """
        sides = self.boxes[:, 1::2] - self.boxes[:, ::2]
        for shape in np.unique(sides, axis=0):
            rows = np.flatnonzero((sides == shape).all(1))
            self._compare_with_image(rows)
            size = self._batch_size(int(rows[0]), pixels_per_pass)
            windowed = self._is_windowed(rows[:size], engine, size)
            self._map_rows(rows, windowed, size)
        self._raise_if_crop_differs()

    def _map_rows(self, rows: IndexArray, windowed: bool, size: int, add: bool = True) -> None:
        """Map the fields of some rows of the table, a batch at a time, and add them to the sum."""
        for group in self._group_by_crop(rows) if windowed else [rows]:
            map_part = partial(self._map_batch, group, windowed, add)
            size = run_in_batches(len(group), size, map_part)

    def _group_by_crop(self, rows: IndexArray) -> Iterator[IndexArray]:
        """Yield rows that share one crop, then all rows with a crop of their own."""
        keys = np.column_stack([self.columns.image, self.boxes])[rows]
        _, group_of_row, counts = np.unique(keys, axis=0, return_inverse=True, return_counts=True)
        group_of_row = group_of_row.ravel()
        for group in np.flatnonzero(counts > 1):
            shared = rows[group_of_row == group]
            # neighbours see the same pixels
            yield shared[np.lexsort(self.positions[shared].T[::-1])]
        if len(alone := rows[counts[group_of_row] == 1]):
            yield alone

    def _map_batch(self, group: IndexArray, windowed: bool, add: bool, part: slice) -> None:
        rows = group[part]
        table = torch.from_numpy(self.table[rows]).to(self.images.device, non_blocking=True)
        columns = PatchColumns(*table.unbind(1))
        fields = FIELD_METHODS[self.method](self.readout, self._request(rows, columns, windowed))
        if add:
            origin = torch.stack([columns.first_row, columns.first_column], 1)
            self.aligned.add(columns.unit, columns.patch, origin, *fields)

    def _request(
        self, rows: IndexArray, columns: PatchColumns[Tensor], windowed: bool
    ) -> FieldRequest:
        crop = self.columns.image, self.columns.top, self.columns.left
        if windowed and all((column[rows] == column[rows[0]]).all() for column in crop):
            crops = self._crop(int(rows[0])).expand(len(rows), -1, -1, -1)
        else:
            crops = self._cut_crops(columns, self._box(int(rows[0])).shape)
        backward = windowed and self.method in BACKWARD_METHODS
        boxes = self._boxes_of_inputs(rows, crops) if backward else None
        positions = torch.stack([columns.row, columns.column], 1)
        return FieldRequest(crops, columns.channel, positions, boxes, self.samples, windowed)

    def _cut_crops(self, columns: PatchColumns[Tensor], shape: tuple[int, int]) -> Tensor:
        """Cut all crops with one operator, (B, 3, h, w)."""
        y, x = (
            corner[:, None] + torch.arange(side, device=corner.device)
            for corner, side in zip((columns.top, columns.left), shape, strict=True)
        )
        image = columns.image[:, None, None]
        crops = self.images[image, :, y[:, :, None], x[:, None]].movedim(-1, 1)
        return crops.contiguous(memory_format=self.readout.memory_format)

    def _box(self, row: int) -> Box:
        return Box(*self.boxes[row].tolist())

    def _crop(self, row: int) -> Tensor:
        image = int(self.columns.image[row])
        return self._box(row).cut(self.images[image : image + 1])

    def _boxes_of_inputs(self, rows: IndexArray, crops: Tensor) -> list[Box] | None:
        """Return, per convolution, the cells on which the pixels of the windows depend."""
        origins = self.table[rows][:, -2:]
        (top, left), (bottom, right) = origins.min(0), origins.max(0) + self.aligned.window_sides
        whole = Box.whole(crops.shape[2:])
        union = Box(int(top), int(bottom), int(left), int(right)).intersection(whole)
        if union == whole:
            return None
        key = *crops.shape[2:], *union
        if key not in self.input_boxes:
            self.input_boxes[key] = convolution_input_boxes(self.readout, crops[:1], union)
        return self.input_boxes[key]

    def _batch_size(self, row: int, pixels_per_pass: int | None) -> int:
        crop = self._crop(row).contiguous(memory_format=self.readout.memory_format)
        if pixels_per_pass is None:
            size = batch_size(self.network, self.readout.activation, crop)
        else:
            size = pixels_per_pass // (crop.shape[2] * crop.shape[3])
        return max(1, size // (self.samples if self.method in REPEATING_METHODS else 1))

    def _is_windowed(self, rows: IndexArray, engine: str, size: int) -> bool:
        if (
            engine != "auto"
            or self.method not in BACKWARD_METHODS
            or not runs_asynchronously(self.images.device)
        ):
            return engine != "batch" or self.method not in BACKWARD_METHODS
        about = type(self.network), self.readout.name, self.images.dtype
        key = *about, self._box(int(rows[0])).shape, len(rows)
        if key not in WINDOWED_IS_FASTER:
            windowed, batch = (self._time_engine(rows, way, size) for way in (True, False))
            WINDOWED_IS_FASTER[key] = windowed < batch
        return WINDOWED_IS_FASTER[key]

    def _time_engine(self, rows: IndexArray, windowed: bool, size: int) -> float:
        """Return the seconds of the second of two passes; the first also selects kernels."""
        for _ in range(2):
            torch.accelerator.synchronize()
            start = time.perf_counter()
            self._map_rows(rows, windowed, size, add=False)
            torch.accelerator.synchronize()
        return time.perf_counter() - start

    def _compare_with_image(self, rows: IndexArray) -> None:
        """Compare activations in a batch of two crops with those in nine times the crop's area.

        Stores the largest difference and activation for `_raise_if_crop_differs`.
        """
        stride, first = self.aligned.geometry.stride, int(rows[0])
        box = self._box(first)
        height, width = box.shape
        top = max(0, (box.top - height) // stride[0] * stride[0])  # keeps the strides' phase
        left = max(0, (box.left - width) // stride[1] * stride[1])
        image = int(self.columns.image[first])
        around = Box(top, box.bottom + height, left, box.right + width).cut(
            self.images[image : image + 1]
        )
        crop = self._crop(first).contiguous(memory_format=self.readout.memory_format)
        with torch.no_grad():
            small = self.readout.activation(torch.cat([crop, crop + 1]))[0]
            large = self.readout.activation(around)[0]
        inner = np.column_stack([self.columns.row, self.columns.column])
        outside = (inner[rows] >= small.shape[-2:]).any(1)
        if outside.any():
            wrong = rows[outside][0]
            patch = [int(self.columns.image[wrong]), *self.positions[wrong].tolist()]
            raise ValueError(
                f"the patch {patch} (image, row, column) lies outside {self.readout.name} of "
                f"images of {tuple(self.images.shape[-2:])}"
            )
        row, column = inner[first].tolist()
        of_crop = small[:, row, column]
        row, column = self.positions[first] - (top // stride[0], left // stride[1])
        of_image = large[:, int(row), int(column)]
        errors = [(of_crop - of_image).abs().max(), of_image.abs().max()]
        self.crop_errors.append(torch.stack(errors))

    def _raise_if_crop_differs(self) -> None:
        if not self.crop_errors:
            return
        difference, largest = torch.stack(self.crop_errors).float().cpu().numpy().T
        arithmetic = current_number_format(self.images.dtype, self.images.device.type)
        if (difference > arithmetic.tolerance * largest).any():
            worst = (difference / largest).max()
            raise ValueError(
                f"a crop does not reproduce {self.readout.name} of the full image (difference "
                f"{worst:.1g} of the largest activation, computed in {arithmetic.name}): the "
                "network sees more than its theoretical field, or mixes images (batch norm "
                "without running statistics); use images of a size that its strides divide"
            )


def runs_asynchronously(device: torch.device) -> bool:
    """Return whether a device works through a queue, so that many small operators leave it idle."""
    return device.type != "cpu"
