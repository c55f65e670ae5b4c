"""Recorder of the responses of units to stimuli, each shown on the unit's own field.

Shapes: S stimuli, U units, h × w positions of a layer.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from deepsal.rf.geometry import FieldGeometry
from deepsal.rf.mapping.crop import crops_for_units
from deepsal.rf.measures.profile import FloatArray
from deepsal.rf.memory import batch_size, run_in_batches
from deepsal.rf.patches import MID_GREY, blank_image
from deepsal.rf.tuning import stimuli
from deepsal.rf.tuning.field_centres import first_field_centre, measure_field_centres
from deepsal.rf.tuning.grating_protocol import GratingProtocol
from deepsal.rf.tuning.indices import ResponseArray
from deepsal.rf.tuning.layer_reader import LayerReader, Region, window_frame, without_rounding

MOST_BATCHES = 4
"""Images on small windows that are run at once, per image on the whole display."""


class GratingRecorder:
    """Recorder of the responses of one unit of each channel, see `record_grating_responses`.

    Args:
        network: in eval mode.
        geometry: of each layer.
        protocol: the stimuli.
        pixels_per_pass: pixels of images per forward pass; None for as many as the memory allows.
        background: (3, H, W), an image behind the stimuli; None for grey.

    Attributes:
        blank: `{layer: (U,)}`, the responses to the background.
        centres: row and column of each stimulus centre in the display.
        group: `{layer: (U,)}`, the index in `centres` of each unit's stimuli.
        offset: `{layer: (U, 2)}`, from that centre to the field of the unit that is read, pixels.
        field_centre: `{layer: (U, 2)}`, the measured from the theoretical centre, pixels.
    """

    def __init__(
        self,
        network: nn.Module,
        geometry: Mapping[str, FieldGeometry],
        protocol: GratingProtocol,
        pixels_per_pass: int | None,
        background: Tensor | None,
    ) -> None:
        self.geometry, self.protocol = geometry, protocol
        stride = max(max(g.stride) for g in geometry.values())
        # strided layers may pad by the parity of the image
        side = -(-round(protocol.display * protocol.pixels_per_degree) // stride) * stride
        grey = blank_image((side, side)).to(next(network.parameters(), torch.empty(0)))
        self.reader = LayerReader(network, geometry, grey)
        if pixels_per_pass is not None:
            self.batch_size = max(1, pixels_per_pass // side**2)
        else:
            readout = self.reader.readouts[self.reader.last]
            self.batch_size = batch_size(network, readout.activation, grey)
        self.field_centre, self.batch_size = measure_field_centres(
            self.reader, protocol.pixels_per_degree, self.batch_size
        )
        steps = (np.arange(protocol.centres) - (protocol.centres - 1) / 2) / protocol.centres
        self.centres = [
            ((side - 1) / 2 + y * stride, (side - 1) / 2 + x * stride)
            for y, x in product(steps, steps)
        ]
        nearest = {name: self._nearest_positions(name) for name in geometry}
        self.group = {name: group for name, (_, group, _) in nearest.items()}
        self.offset = {name: offset for name, (_, _, offset) in nearest.items()}
        self.contrast = 1.0 if background is None else 0.5
        if background is not None:
            whole = stimuli.display_image(background, side).to(grey)
            self.reader.show_on(MID_GREY + self.contrast * (whole - MID_GREY))
        self._crop_display({name: position for name, (position, _, _) in nearest.items()})

    def _nearest_positions(
        self, name: str
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], FloatArray]:
        """Return each channel's position, its stimulus centre, and the offset between them.

        Returns:
            (U, 2) row and column, (U,) index of `centres`, (U, 2) pixels.
        """
        stride = np.array(self.geometry[name].stride)
        last = np.array(self.reader.blank[name].shape[2:]) - 1
        field = first_field_centre(self.geometry[name]) + np.nan_to_num(self.field_centre[name])
        wanted = (np.array(self.centres)[:, None] - field) / stride
        positions = np.rint(wanted).clip(0, last).astype(np.int64)
        offset = (positions - wanted) * stride
        group = np.square(offset).sum(2).argmin(0)
        units = np.arange(len(field))
        return positions[group, units], group, offset[group, units]

    def _crop_display(self, positions: Mapping[str, NDArray[np.int64]]) -> None:
        """Reduce the display to what the units see, and keep their positions in it."""
        size = self.reader.background.shape[2], self.reader.background.shape[3]
        boxes = [crops_for_units(g, size, positions[n])[0] for n, g in self.geometry.items()]
        low, high = np.concatenate(boxes).min(0)[[0, 2]], np.concatenate(boxes).max(0)[[1, 3]]
        low = low // self.reader.stride * self.reader.stride
        high = np.minimum(-(-high // self.reader.stride) * self.reader.stride, size)
        self.batch_size = max(1, int(self.batch_size * np.prod(size) / np.prod(high - low)))
        self.origin = int(low[0]), int(low[1])
        self.position = {
            name: positions[name] - low // np.array(g.stride) for name, g in self.geometry.items()
        }
        self.reader.show_on(self.reader.background[:, :, low[0] : high[0], low[1] : high[1]])
        whole = slice(0, None), slice(0, None)
        self.blank = {
            name: self._units_of(name, z, whole)[0] for name, z in self.reader.blank.items()
        }

    def _units_of(self, name: str, z: Tensor, positions: Region) -> Tensor:
        """Return the responses of each channel at its own position, (S, U) of (S, U, h, w)."""
        first = np.array([axis.start for axis in positions])
        index = torch.as_tensor((self.position[name] - first).T, device=z.device)
        return z[:, torch.arange(z.shape[1], device=z.device), *index].float()

    def record(
        self,
        draw: Callable[..., Tensor],
        centre: tuple[float, float],
        values: Sequence[FloatArray],
        radius: FloatArray,
        layers: Sequence[str] | None = None,
    ) -> dict[str, ResponseArray]:
        """Record the responses to one image per element of `values`, {layer: (S, U)}.

        Args:
            draw: function of the size of the image, the centre of the stimulus and `values`.
            centre: of the stimuli, in the whole display.
            values: (S,) each.
            radius: (S,), of the circles that hold the stimuli, degrees.
            layers: the first ones in forward order; None for all.
        """
        at = centre[0] - self.origin[0], centre[1] - self.origin[1]
        layers = layers or [*self.reader.geometry]
        result = {n: np.zeros((len(radius), len(self.blank[n])), np.float32) for n in layers}
        for border in np.unique(radius):
            shown = np.flatnonzero(radius == border)
            responses = self._record_circle(draw, at, [v[shown] for v in values], border, layers)
            for name, z in responses.items():
                result[name][shown] = z
        return result

    def _record_circle(
        self,
        draw: Callable[..., Tensor],
        at: tuple[float, float],
        values: Sequence[FloatArray],
        radius: float,
        layers: Sequence[str],
    ) -> dict[str, ResponseArray]:
        """Record the responses of layers to images inside one circle, {layer: (S, U)}."""
        pixels = radius * self.protocol.pixels_per_degree
        windows = self.reader.windows(at, pixels, self.position)
        windows = {name: windows[name] for name in layers}
        size, middle = window_frame(windows, at)
        shown_on = self.reader.background[:, :, *next(iter(windows.values())).pixels]
        parts: dict[str, list[Tensor]] = {name: [] for name in windows}

        def record_part(part: slice) -> None:
            with shown_on.device:
                images = draw(size, middle, *(v[part] for v in values))
            change = self.contrast * (images.to(shown_on) - MID_GREY)
            responses = self.reader.read(shown_on + change, windows)
            for name, maps in responses.items():
                z = self._units_of(name, maps, windows[name].positions)
                parts[name].append(without_rounding(z - self.blank[name], z).cpu())

        display = np.prod(self.reader.background.shape[-2:])
        times = min(MOST_BATCHES, int(display / np.prod(size)))
        reached = run_in_batches(len(values[0]), self.batch_size * times, record_part)
        self.batch_size = min(self.batch_size, max(1, reached // times))
        grey = {name: z.cpu() for name, z in self.blank.items()}
        return {name: (torch.cat(part) + grey[name]).numpy() for name, part in parts.items()}
