"""Responses of several layers in one forward pass that computes only what a stimulus changes.

Shapes: S images, U units, h × w positions of a layer.
"""

import math
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from deepsal.rf.geometry import FieldGeometry
from deepsal.rf.hooks import find_layer
from deepsal.rf.mapping.readout import UnitReadout
from deepsal.rf.memory import is_out_of_memory

Region = tuple[slice, slice]
"""Rows and columns."""
EXACTNESS = 1e-4
"""Largest error of responses on windows, as a share of the largest response of the layer."""


class LayerWindow(NamedTuple):
    """Positions of a layer that stimuli change, and the pixels that decide their responses."""

    pixels: Region
    positions: Region


class LayerReader:
    """Reader of several layers before their rectifiers in one forward pass.

    A stimulus changes a small part of the first layers. So each layer is computed on a window about
    the stimulus, and the response to the background completes its output for the next layer, which
    needs a wider window. This is exact where each layer depends on the image through the layer
    before it alone. That is tested once; other networks run on whole images.

    Args:
        network: in eval mode, as inside `temporary_eval_mode`.
        geometry: of the layers.
        background: (1, 3, height, width), the image without a stimulus; multiples of the strides.

    Attributes:
        blank: `{layer: (1, U, h, w)}`, the responses to the background.

    Raises:
        ValueError: there is no such layer, its output is not a map, or no forward pass runs through
            all layers.
    """

    def __init__(
        self, network: nn.Module, geometry: Mapping[str, FieldGeometry], background: Tensor
    ) -> None:
        names = [*geometry]
        self.readouts = {name: UnitReadout(network, name, background) for name in names}
        self.modules = {name: find_layer(network, name) for name in names}
        formats = {readout.memory_format for readout in self.readouts.values()}
        contiguous = torch.contiguous_format
        self.memory_format = contiguous if contiguous in formats else torch.channels_last
        for name in reversed(names):
            self.last = name
            order = [*self.read(background)]
            if len(order) == len(names):
                break
        else:
            raise ValueError(
                f"no forward pass that ends at one of {names} runs through all of them"
            )
        self.geometry = {name: geometry[name] for name in order}
        self.stride = max(max(g.stride) for g in geometry.values())
        self.windowed = True
        self.show_on(background)
        self.windowed = self._windows_are_exact()

    def show_on(self, background: Tensor) -> None:
        """Take a background (1, 3, height, width) for the stimuli that follow."""
        self.background = background
        self.outputs: dict[str, Tensor] = {}

        def keep(name: str, _module: nn.Module, _inputs: object, output: Tensor) -> None:
            self.outputs[name] = output.clone()

        with ExitStack() as hooks:
            for name in [*self.geometry][:-1]:
                hooks.enter_context(self.modules[name].register_forward_hook(partial(keep, name)))
            self.blank = self.read(background)

    def windows(
        self,
        centre: tuple[float, float],
        radius: float,
        units: Mapping[str, NDArray[np.int64]] | None = None,
    ) -> dict[str, LayerWindow]:
        """Return the window of each layer for stimuli inside a circle, in forward order.

        Args:
            centre: row and column of the circle, pixels.
            radius: of the circle, pixels.
            units: (U, 2), positions of a layer that its window holds in any case.
        """
        windows = {}
        for name in self.geometry:
            of_units = None if units is None else units[name]
            rows, columns = (
                self._window_span(name, a, centre[a], radius, of_units) for a in (0, 1)
            )
            windows[name] = LayerWindow((rows[0], columns[0]), (rows[1], columns[1]))
        return windows

    def _window_span(
        self,
        name: str,
        axis: int,
        centre: float,
        radius: float,
        units: NDArray[np.int64] | None,
    ) -> tuple[slice, slice]:
        """Return pixels and positions of a window along one axis."""
        g, length = self.geometry[name], self.background.shape[2 + axis]
        count = self.blank[name].shape[2 + axis]
        if not (self.windowed and g.size):
            return slice(0, length), slice(0, count)
        size, stride, offset = g.size[axis], g.stride[axis], g.offset[axis]
        first = math.ceil((centre - radius - 1 + offset - size) / stride)
        last = math.floor((centre + radius + 1 + offset) / stride)
        if units is not None:
            first, last = min(first, units[:, axis].min()), max(last, units[:, axis].max())
        first, last = max(int(first), 0), min(int(last), count - 1)
        start = (first * stride - offset) // self.stride * self.stride
        stop = -(-(last * stride - offset + size) // self.stride) * self.stride
        return slice(max(start, 0), min(stop, length)), slice(first, last + 1)

    def read(
        self, images: Tensor, windows: Mapping[str, LayerWindow] | None = None
    ) -> dict[str, Tensor]:
        """Return the outputs, {layer: (S, U, h, w)}, at the positions of windows.

        Args:
            images: (S, 3, height, width), the pixels of the first window; whole ones without
                windows.
            windows: of `windows`, of all layers or of the first ones, behind which the network is
                not run; None for all positions of all layers.
        """
        outputs: dict[str, Tensor] = {}
        last = [*windows][-1] if windows else self.last

        def record(name: str, _module: nn.Module, inputs: Any, output: Any = None) -> None:
            z = inputs[0] if output is None else output
            if windows:
                z = z[:, :, *self._inside(name, windows[name].positions, windows[name].pixels)]
            outputs[name] = z.clone()

        def complete(name: str, after: str, _module: nn.Module, _in: Any, output: Tensor) -> Tensor:
            assert windows
            own, wider = windows[name], windows[after].pixels
            cells = self._cells(name, wider)
            rows, columns = (
                slice(max(p.start, c.start), min(p.stop, c.stop))
                for p, c in zip(own.positions, cells, strict=True)
            )
            result = self.outputs[name][:, :, *cells].repeat(len(output), 1, 1, 1)
            result = result.contiguous(memory_format=self.memory_format)
            result[:, :, *self._inside(name, (rows, columns), wider)] = output[
                :, :, *self._inside(name, (rows, columns), own.pixels)
            ]
            return result

        with ExitStack() as hooks:
            for name, readout in self.readouts.items():
                if windows and name not in windows:
                    continue
                if readout.rectifier is None:
                    hook = readout.target.register_forward_hook(partial(record, name))
                else:
                    hook = readout.target.register_forward_pre_hook(partial(record, name))
                hooks.enter_context(hook)
            for name, after in pairwise(windows or ()):
                hook = self.modules[name].register_forward_hook(partial(complete, name, after))
                hooks.enter_context(hook)
            self.readouts[last](images.contiguous(memory_format=self.memory_format))
        return outputs

    def _cells(self, name: str, pixels: Region) -> Region:
        """Return the positions of a layer in a region of the image."""
        rows, columns = (
            slice(p.start // step, -(-p.stop // step))
            for p, step in zip(pixels, self.geometry[name].stride, strict=True)
        )
        return rows, columns

    def _inside(self, name: str, positions: Region, pixels: Region) -> Region:
        """Return positions of a layer in its output on a region of the image."""
        rows, columns = (
            slice(p.start - cells.start, p.stop - cells.start)
            for p, cells in zip(positions, self._cells(name, pixels), strict=True)
        )
        return rows, columns

    def _windows_are_exact(self) -> bool:
        """Compare responses to noise in a circle on windows with those on the whole image."""
        height, width = self.background.shape[-2:]
        centre, radius = (height / 2, width / 2), min(height, width) / 16
        image = self.background.clone()
        rows, columns = (slice(int(c - radius / 2), int(c + radius / 2) + 1) for c in centre)
        part = image[:, :, rows, columns]
        part.copy_((1.7 * torch.arange(part.numel())).sin().view_as(part) / 2 + 0.5)
        windows = self.windows(centre, radius)
        whole = self.read(image)
        try:
            on_windows = self.read(image[:, :, *next(iter(windows.values())).pixels], windows)
        except RuntimeError as error:  # a layer that reads several earlier ones
            if is_out_of_memory(error):
                raise
            return False
        for name, z in whole.items():
            expected = self.blank[name].clone()
            expected[:, :, *windows[name].positions] = on_windows[name]
            if not (z - expected).abs().max() <= EXACTNESS * z.abs().max():
                return False
        return True


def window_frame(
    windows: Mapping[str, LayerWindow], at: tuple[float, float]
) -> tuple[tuple[int, int], tuple[float, float]]:
    """Return the size of the images on windows, and a place in them."""
    rows, columns = next(iter(windows.values())).pixels
    size = rows.stop - rows.start, columns.stop - columns.start
    return size, (at[0] - rows.start, at[1] - columns.start)


def without_rounding(change: Tensor, z: Tensor) -> Tensor:
    """Return changes of responses z, those at the size of rounding errors as 0."""
    rounding = 8 * torch.finfo(z.dtype).eps * z.abs().max()  # order of sums
    return torch.where(change.abs() > rounding, change, 0)
