"""Recorder of the responses of units to gratings, each shown on the unit's own field.

Shapes: S stimuli, U units, h × w positions of a layer.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

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
from deepsal.rf.tuning.grating_protocol import SMALL_GRATING, GratingProtocol, GratingResponses
from deepsal.rf.tuning.indices import ResponseArray
from deepsal.rf.tuning.layer_reader import LayerReader, LayerWindow, Region

MAPPING_STEP = 0.25
"""Distance of the places of small gratings, degrees."""
MAPPING_REACH = 2.5
"""Largest distance of a small grating from the theoretical centre of a field, degrees."""
MAPPING_THRESHOLD = 0.05
"""Share of the largest response from which a place counts."""
MOST_BATCHES = 4
"""Images on small windows that are run at once, per image on the whole display."""


class GratingRecorder:
    """Recorder of `GratingResponses`, see `record_grating_responses`.

    Args:
        network: in eval mode.
        geometry: of each layer.
        protocol: the stimuli.
        pixels_per_pass: pixels of images per forward pass; None for as many as the memory allows.
        background: (3, H, W), an image behind the stimuli; None for grey.

    Attributes:
        responses: of each layer, all but the surround conditions.
        centres: row and column of each stimulus centre in the display.
        group: {layer: (U,)}, the index in `centres` of each unit's stimuli.
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
        self.like = next(network.parameters(), torch.empty(0))
        self.stride = max(max(g.stride) for g in geometry.values())
        # strided layers may pad by the parity of the image
        side = -(-round(protocol.display * protocol.pixels_per_degree) // self.stride) * self.stride
        self.origin = (0, 0)
        grey = blank_image((side, side)).to(self.like)
        self.reader = LayerReader(network, geometry, grey)
        if pixels_per_pass is not None:
            self.batch_size = max(1, pixels_per_pass // side**2)
        else:
            readout = self.reader.readouts[self.reader.last]
            self.batch_size = batch_size(network, readout.activation, grey)
        self.shapes = {name: z.shape[1:] for name, z in self.reader.blank.items()}
        centres = self._map_centres((side - 1) / 2)
        steps = (np.arange(protocol.centres) - (protocol.centres - 1) / 2) / protocol.centres
        self.centres = [
            ((side - 1) / 2 + y * self.stride, (side - 1) / 2 + x * self.stride)
            for y, x in product(steps, steps)
        ]
        nearest = {name: self._nearest_positions(name, centres[name]) for name in geometry}
        self.group = {name: group for name, (_, group, _) in nearest.items()}
        self.contrast = 1.0 if background is None else 0.5
        if background is not None:
            whole = stimuli.display_image(background, side).to(self.like)
            self.reader.show_on(MID_GREY + self.contrast * (whole - MID_GREY))
        self._crop_display({name: position for name, (position, _, _) in nearest.items()})
        self.responses = self._record_responses(centres, {n: x[2] for n, x in nearest.items()})

    def _first_centre(self, name: str) -> FloatArray:
        """Return the centre of the field of a layer's first position, (2,), pixels."""
        g = self.geometry[name]
        cells = [
            (g.size[a] - 1) / 2 - g.offset[a] if g.size else (g.stride[a] - 1) / 2 for a in (0, 1)
        ]
        return np.array(cells)

    def _map_centres(self, middle: float) -> dict[str, FloatArray]:
        """Return the measured centre of each channel's field from the theoretical one, pixels."""
        scale = self.protocol.pixels_per_degree
        places = 1 << max(0, round(np.log2(self.stride / (MAPPING_STEP * scale))))
        step = self.stride / places
        parts: dict[str, list[tuple[Tensor, FloatArray, FloatArray]]] = {n: [] for n in self.shapes}
        for y, x in product(range(places), range(places)):
            at = middle + (y - (places - 1) / 2) * step, middle + (x - (places - 1) / 2) * step
            total = self._mean_excitation(at)
            for name, g in self.geometry.items():
                if y >= -(-g.stride[0] // step) or x >= -(-g.stride[1] // step):
                    continue
                rows, columns = (
                    at[a]
                    - self._first_centre(name)[a]
                    - np.arange(self.shapes[name][1 + a]) * g.stride[a]
                    for a in (0, 1)
                )
                near = [np.abs(d) <= MAPPING_REACH * scale for d in (rows, columns)]
                inside = total[name][:, near[0]][:, :, near[1]]
                parts[name].append((inside, rows[near[0]], columns[near[1]]))
        return {name: _response_centroid(part) for name, part in parts.items()}

    def _mean_excitation(self, at: tuple[float, float]) -> dict[str, Tensor]:
        """Return the mean excitation by small gratings at a place, {layer: (U, h, w)}."""
        scale = self.protocol.pixels_per_degree
        radius, frequency = SMALL_GRATING["radius"] * scale, SMALL_GRATING["frequency"] / scale
        angle, phase = np.tile([0.0, 45.0, 90.0, 135.0], 2), np.repeat([0.0, 180.0], 4)
        windows = self.reader.windows(at, radius)
        size, centre = _window_frame(windows, at)
        total = {name: torch.zeros(shape) for name, shape in self.shapes.items()}

        def add(part: slice) -> None:
            with self.like.device:
                images = stimuli.grating_images(
                    size, centre, [frequency], angle[part], phase[part], radius=[radius]
                )
            for name, z in self.reader.read(images.to(self.like), windows).items():
                positions = windows[name].positions
                change = z - self.reader.blank[name][:, :, *positions]
                excitation = _without_rounding(change, z).clamp(min=0)
                total[name][:, *positions] += excitation.float().sum(0).cpu() / len(angle)

        self.batch_size = run_in_batches(len(angle), self.batch_size, add)
        return total

    def _nearest_positions(
        self, name: str, centre: FloatArray
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], FloatArray]:
        """Return each channel's position, its stimulus centre, and the offset between them.

        Args:
            name: the layer.
            centre: (U, 2), measured centres from the theoretical ones, pixels.

        Returns:
            (U, 2) row and column, (U,) index of `centres`, (U, 2) pixels.
        """
        stride, last = np.array(self.geometry[name].stride), np.array(self.shapes[name][1:]) - 1
        field = self._first_centre(name) + np.nan_to_num(centre)
        wanted = (np.array(self.centres)[:, None] - field) / stride
        positions = np.rint(wanted).clip(0, last).astype(np.int64)
        offset = (positions - wanted) * stride
        group = np.square(offset).sum(2).argmin(0)
        units = np.arange(len(centre))
        return positions[group, units], group, offset[group, units]

    def _crop_display(self, positions: Mapping[str, NDArray[np.int64]]) -> None:
        """Reduce the display to what the units see, and keep their positions in it."""
        size = self.reader.background.shape[2], self.reader.background.shape[3]
        boxes = [crops_for_units(g, size, positions[n])[0] for n, g in self.geometry.items()]
        low, high = np.concatenate(boxes).min(0)[[0, 2]], np.concatenate(boxes).max(0)[[1, 3]]
        low = low // self.stride * self.stride
        high = np.minimum(-(-high // self.stride) * self.stride, size)
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
        size, middle = _window_frame(windows, at)
        shown_on = self.reader.background[:, :, *next(iter(windows.values())).pixels]
        parts: dict[str, list[Tensor]] = {name: [] for name in windows}

        def record_part(part: slice) -> None:
            with self.like.device:
                images = draw(size, middle, *(v[part] for v in values))
            change = self.contrast * (images.to(self.like) - MID_GREY)
            responses = self.reader.read(shown_on + change, windows)
            for name, maps in responses.items():
                z = self._units_of(name, maps, windows[name].positions)
                parts[name].append(_without_rounding(z - self.blank[name], z).cpu())

        display = np.prod(self.reader.background.shape[-2:])
        times = min(MOST_BATCHES, int(display / np.prod(size)))
        reached = run_in_batches(len(values[0]), self.batch_size * times, record_part)
        self.batch_size = min(self.batch_size, max(1, reached // times))
        grey = {name: z.cpu() for name, z in self.blank.items()}
        return {name: (torch.cat(part) + grey[name]).numpy() for name, part in parts.items()}

    def _record_grid(
        self, draw: Callable[..., Tensor], axes: Sequence[FloatArray]
    ) -> dict[str, ResponseArray]:
        """Record all combinations of values at each channel's stimulus centre, (U, *axes).

        The first axis is the radius of a circle that holds the stimulus, degrees.
        """
        mesh = [m.ravel() for m in np.meshgrid(*axes, indexing="ij")]
        shape = [len(axis) for axis in axes]
        result = {
            name: np.zeros((self.shapes[name][0], *shape), np.float32) for name in self.geometry
        }
        for index in np.unique(np.concatenate([*self.group.values()])):
            responses = self.record(draw, self.centres[index], mesh, mesh[0])
            for name, z in responses.items():
                members = self.group[name] == index
                result[name][members] = z.T[members].reshape(members.sum(), *shape)
        return result

    def _record_responses(
        self, centres: Mapping[str, FloatArray], offsets: Mapping[str, FloatArray]
    ) -> dict[str, GratingResponses]:
        protocol, scale = self.protocol, self.protocol.pixels_per_degree
        radius, frequency = np.array(protocol.radius), np.array(protocol.frequency)
        angles = np.array(protocol.orientation), np.array(protocol.phase)

        def grating(
            size: stimuli.ImageSize, at: stimuli.ImagePosition, r: Any, f: Any, o: Any, p: Any
        ) -> Tensor:
            return stimuli.grating_images(size, at, f / scale, o, p, radius=r * scale)

        def disk(size: stimuli.ImageSize, at: stimuli.ImagePosition, r: Any, sign: Any) -> Tensor:
            return stimuli.disk_images(size, at, r * scale, sign * MID_GREY)

        gratings = self._record_grid(grating, [radius, frequency, *angles])
        tuning_radius = np.array([protocol.tuning_radius])
        tuning = self._record_grid(grating, [tuning_radius, protocol.tuning_frequencies(), *angles])
        disks = self._record_grid(disk, [radius, np.array([1.0, -1.0])])
        return {
            name: GratingResponses(
                protocol,
                self.blank[name].cpu().numpy(),
                gratings[name],
                tuning[name][:, 0],
                disks[name].swapaxes(1, 2),
                centres[name] / scale,
                offsets[name] / scale,
            )
            for name in self.geometry
        }


def _window_frame(
    windows: Mapping[str, LayerWindow], at: tuple[float, float]
) -> tuple[tuple[int, int], tuple[float, float]]:
    """Return the size of the images on windows, and a place in them."""
    rows, columns = next(iter(windows.values())).pixels
    size = rows.stop - rows.start, columns.stop - columns.start
    return size, (at[0] - rows.start, at[1] - columns.start)


def _response_centroid(parts: Sequence[tuple[Tensor, FloatArray, FloatArray]]) -> FloatArray:
    """Return the centroid of the places with more than 5 % of the largest response, (U, 2).

    Args:
        parts: responses (U, h, w), and the rows (h,) and columns (w,) of their places.
    """
    largest = torch.stack([part[0].amax((1, 2)) for part in parts]).amax(0)
    moments = torch.zeros(3, len(largest), dtype=torch.float64)
    for response, rows, columns in parts:
        above = response > MAPPING_THRESHOLD * largest[:, None, None]
        mass = torch.where(above, response, 0).double()
        moments[0] += mass.sum((1, 2))
        moments[1] += mass.sum(2) @ torch.as_tensor(rows)
        moments[2] += mass.sum(1) @ torch.as_tensor(columns)
    mass_of_unit = torch.where(moments[0] > 0, moments[0], torch.nan)
    return np.asarray((moments[1:] / mass_of_unit).T.numpy())


def _without_rounding(change: Tensor, z: Tensor) -> Tensor:
    """Return changes of responses z, those at the size of rounding errors as 0."""
    rounding = 8 * torch.finfo(z.dtype).eps * z.abs().max()  # order of sums
    return torch.where(change.abs() > rounding, change, 0)
