"""Fields of a layer's units on their patches, read in batches of crops and summed on the device."""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from deepsal.rf.arithmetic import current_number_format
from deepsal.rf.mapping.align import AlignedFieldSum
from deepsal.rf.mapping.crop import IndexArray, crops_for_units
from deepsal.rf.mapping.engine.shared_forward import convolution_input_boxes
from deepsal.rf.mapping.engine.windowed_gradient import Box
from deepsal.rf.mapping.methods import BACKWARD_METHODS, FIELD_METHODS, REPEATING_METHODS
from deepsal.rf.mapping.readout import FieldBatch, FieldRequest, UnitReadout
from deepsal.rf.memory import batch_size, run_in_batches

GRADIENT_ENGINES = ("auto", "windowed", "batch")
WINDOWED_IS_FASTER: dict[tuple[object, ...], bool] = {}
"""Whether windowed gradients were the faster ones, as timed in this process."""
_UNIT, _PATCH, _IMAGE, _CHANNEL, _TOP, _LEFT, _ROW, _COLUMN, _ORIGIN = range(9)
"""Columns of `FieldExtraction.table`; ROW and COLUMN lie in the crop's output, FIRST has two."""


class FieldExtraction:
    """Reads units on crops and adds their fields to `aligned`.

    Args:
        network: as inside `units.undisturbed`.
        name: of the layer.
        images: (N, 3, H, W), on the network's device.
        units: U channels.
        patches: (U, K, 3), image, row and column; −1 for none.
        aligned: the sums.
        method: of `METHODS`.
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
        there = np.argwhere(patches[..., 0] >= 0)
        image, self.at = np.split(patches[there[:, 0], there[:, 1]], [1], axis=1)
        self.box, inner = crops_for_units(
            aligned.geometry, (images.shape[2], images.shape[3]), self.at
        )
        corner = self.box[:, ::2]
        channel = np.asarray(units, dtype=np.int64)[there[:, 0]]
        self.table = np.column_stack(
            [there, image, channel, corner, inner, aligned.first(self.at) - corner]
        )
        piece = self._piece(0) if len(there) else images[:1]
        self.probe = UnitReadout(network, name, piece)
        if wrong := [unit for unit in units if not 0 <= unit < self.probe.channels]:
            raise ValueError(f"{name} has units 0 … {self.probe.channels - 1}, not {wrong}")
        self.needed: dict[tuple[int, ...], list[Box]] = {}
        self.errors: list[Tensor] = []

    def run(self, pixels: int | None, engine: str) -> None:
        """Read every unit on every patch.

        Args:
            pixels: of crops per pass; None for what memory has room for.
            engine: of `GRADIENT_ENGINES`.

        Raises:
            ValueError: a crop does not reproduce the full image.
        """
        sides = self.box[:, 1::2] - self.box[:, ::2]
        for shape in np.unique(sides, axis=0):
            places = np.flatnonzero((sides == shape).all(1))
            self._check(places)
            size = self._batch_size(int(places[0]), pixels)
            windowed = self._is_windowed(places[:size], engine, size)
            self._read(places, windowed, size, self._add)
        self._verify()

    def _read(
        self,
        places: IndexArray,
        windowed: bool,
        size: int,
        use: Callable[[Tensor, FieldBatch], None],
    ) -> None:
        for group in self._groups(places) if windowed else [places]:
            answer = partial(self._answer, group, windowed, use)
            size = run_in_batches(len(group), size, answer)

    def _groups(self, places: IndexArray) -> Iterator[IndexArray]:
        """Yield places that share one crop, then all that do not."""
        keys = np.column_stack([self.table[:, _IMAGE], self.box])[places]
        _, which, counts = np.unique(keys, axis=0, return_inverse=True, return_counts=True)
        which = which.ravel()
        for group in np.flatnonzero(counts > 1):
            shared = places[which == group]
            yield shared[np.lexsort(self.at[shared].T[::-1])]  # neighbours see the same pixels
        if len(alone := places[counts[which] == 1]):
            yield alone

    def _answer(
        self,
        group: IndexArray,
        windowed: bool,
        use: Callable[[Tensor, FieldBatch], None],
        part: slice,
    ) -> None:
        places = group[part]
        table = torch.from_numpy(self.table[places]).to(self.images.device, non_blocking=True)
        question = self._question(places, table, windowed)
        use(table, FIELD_METHODS[self.method](self.probe, question))

    def _add(self, table: Tensor, answer: FieldBatch) -> None:
        unit, patch, first = table[:, _UNIT], table[:, _PATCH], table[:, _ORIGIN:]
        self.aligned.add(unit, patch, first, answer.field, answer.box, answer.activation)

    def _question(self, places: IndexArray, table: Tensor, windowed: bool) -> FieldRequest:
        keys = self.table[places][:, [_IMAGE, _TOP, _LEFT]]
        if windowed and (keys == keys[0]).all():
            images = self._piece(int(places[0])).expand(len(places), -1, -1, -1)
        else:
            images = self._gather(table, self._shape(int(places[0])))
        backward = windowed and self.method in BACKWARD_METHODS
        needed = self._needed(places, images) if backward else None
        channel, where = table[:, _CHANNEL], table[:, _ROW : _COLUMN + 1]
        return FieldRequest(images, channel, where, needed, self.samples, windowed)

    def _gather(self, table: Tensor, shape: tuple[int, int]) -> Tensor:
        """Cut all crops with one operator, (B, 3, h, w)."""
        rows, columns = (
            table[:, corner, None] + torch.arange(side, device=table.device)
            for corner, side in zip((_TOP, _LEFT), shape, strict=True)
        )
        image = table[:, _IMAGE, None, None]
        cut = self.images[image, :, rows[:, :, None], columns[:, None]].movedim(-1, 1)
        return cut.contiguous(memory_format=self.probe.layout)

    def _piece(self, place: int) -> Tensor:
        top, bottom, left, right = self.box[place].tolist()
        return self.images[self.table[place, _IMAGE], None, :, top:bottom, left:right]

    def _shape(self, place: int) -> tuple[int, int]:
        top, bottom, left, right = self.box[place].tolist()
        return bottom - top, right - left

    def _needed(self, places: IndexArray, images: Tensor) -> list[Box] | None:
        whole = Box(0, images.shape[2], 0, images.shape[3])
        first = self.table[places][:, _ORIGIN:]
        (top, left), (bottom, right) = first.min(0), first.max(0) + self.aligned.sides
        union = Box(int(top), int(bottom), int(left), int(right)).within(whole)
        if union == whole:
            return None
        key = *images.shape[2:], *union
        if key not in self.needed:
            self.needed[key] = convolution_input_boxes(self.probe, images[:1], union)
        return self.needed[key]

    def _batch_size(self, place: int, pixels: int | None) -> int:
        piece = self._piece(place).contiguous(memory_format=self.probe.layout)
        if pixels is None:
            size = batch_size(self.network, self.probe.activation, piece)
        else:
            size = pixels // (piece.shape[2] * piece.shape[3])
        return max(1, size // (self.samples if self.method in REPEATING_METHODS else 1))

    def _is_windowed(self, places: IndexArray, engine: str, size: int) -> bool:
        if (
            engine != "auto"
            or self.method not in BACKWARD_METHODS
            or not runs_asynchronously(self.images.device)
        ):
            return engine != "batch" or self.method not in BACKWARD_METHODS
        about = type(self.network), self.probe.name, self.images.dtype
        key = *about, self._shape(int(places[0])), len(places)
        if key not in WINDOWED_IS_FASTER:
            windowed, batch = (self._seconds(places, way, size) for way in (True, False))
            WINDOWED_IS_FASTER[key] = windowed < batch
        return WINDOWED_IS_FASTER[key]

    def _seconds(self, places: IndexArray, windowed: bool, size: int) -> float:
        for _ in range(2):  # the first pass also chooses kernels
            torch.accelerator.synchronize()
            began = time.perf_counter()
            self._read(places, windowed, size, lambda table, answer: None)
            torch.accelerator.synchronize()
        return time.perf_counter() - began

    def _check(self, places: IndexArray) -> None:
        """Compare a crop's activations, beside another crop, with those in nine times its area.

        The largest difference and activation are kept, and read at the end by `_verify`.
        """
        stride, place = self.aligned.geometry.stride, int(places[0])
        top, bottom, left, right = self.box[place].tolist()
        row, column = self.table[place, _ROW:_ORIGIN].tolist()
        height, width = bottom - top, right - left
        first_row = max(0, (top - height) // stride[0] * stride[0])  # keeps the strides' phase
        first_column = max(0, (left - width) // stride[1] * stride[1])
        rows, columns = slice(first_row, bottom + height), slice(first_column, right + width)
        around = self.images[self.table[place, _IMAGE], None, :, rows, columns]
        piece = self._piece(place).contiguous(memory_format=self.probe.layout)
        with torch.no_grad():
            small = self.probe.activation(torch.cat([piece, piece + 1]))[0]
            large = self.probe.activation(around)[0]
        outside = (self.table[places][:, _ROW:_ORIGIN] >= small.shape[-2:]).any(1)
        if outside.any():
            wrong = places[outside][0]
            patch = [int(self.table[wrong, _IMAGE]), *self.at[wrong].tolist()]
            raise ValueError(
                f"the patch {patch} (image, row, column) lies outside {self.probe.name} of images "
                f"of {tuple(self.images.shape[-2:])}"
            )
        of_crop = small[:, row, column]
        row, column = self.at[place] - (first_row // stride[0], first_column // stride[1])
        of_image = large[:, int(row), int(column)]
        self.errors.append(torch.stack([(of_crop - of_image).abs().max(), of_image.abs().max()]))

    def _verify(self) -> None:
        if not self.errors:
            return
        difference, largest = torch.stack(self.errors).float().cpu().numpy().T
        arithmetic = current_number_format(self.images.dtype, self.images.device.type)
        if (difference > arithmetic.tolerance * largest).any():
            worst = (difference / largest).max()
            raise ValueError(
                f"a crop does not reproduce {self.probe.name} of the full image (difference "
                f"{worst:.1g} of the largest activation, computed in {arithmetic.name}): the "
                "network looks beyond its theoretical field, or mixes images (batch norm without "
                "running statistics); give images of a size that its strides divide"
            )


def runs_asynchronously(device: torch.device) -> bool:
    """Tell whether a device works through a queue, so that many small operators leave it idle."""
    return device.type != "cpu"
