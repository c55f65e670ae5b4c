"""Responses of all units of several layers to gratings of physiology, each centred on its field.

Shapes: U units, R radii, F frequencies, O orientations, P phases, h × w positions of a
layer.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from deepsal.rf.geometry import FieldGeometry, measure_geometry
from deepsal.rf.hooks import temporary_eval_mode
from deepsal.rf.mapping.crop import crops_for_units
from deepsal.rf.measures.profile import FloatArray
from deepsal.rf.memory import batch_size, run_in_batches
from deepsal.rf.patches import MID_GREY, blank_image
from deepsal.rf.tuning import stimuli
from deepsal.rf.tuning.grating_protocol import (
    CONTRASTS,
    SMALL_GRATING,
    GratingProtocol,
    GratingResponses,
)
from deepsal.rf.tuning.indices import ResponseArray
from deepsal.rf.tuning.layer_reader import LayerReader, LayerWindow, Region
from deepsal.rf.tuning.size_tuning import (
    SUMMATION_LEVEL,
    best_grating,
    larger_component,
    phase_response,
)

MAPPING_STEP = 0.25
"""Distance of the places of small gratings, degrees."""
MAPPING_REACH = 2.5
"""Largest distance of a small grating from the theoretical centre of a field, degrees."""
MAPPING_THRESHOLD = 0.05
"""Share of the largest response from which a place counts."""
MOST_BATCHES = 4
"""Images on small windows that are run at once, per image on the whole display."""


def record_grating_responses(
    network: nn.Module,
    names: Sequence[str],
    protocol: GratingProtocol | None = None,
    surround: bool = False,
    geometry: Mapping[str, FieldGeometry] | None = None,
    pixels_per_pass: int | None = None,
    background: Float[Tensor, "3 H W"] | None = None,
) -> dict[str, GratingResponses]:
    """Record the responses of one unit of each channel of layers to the gratings of physiology.

    One forward pass per batch of stimuli serves all units of all layers. First, small gratings give
    the centre of each field: an image shows one place, and the positions of the layer see it at as
    many places of their fields. Then each channel is read at the position whose field lies nearest
    to the stimuli. The full grid of sizes, frequencies, orientations and phases is shown once, and
    each unit's best grating is read from it. The network is left as it was.

    Args:
        network: any module that takes RGB images in [0, 1], grey being 0.5.
        names: dotted names of the layers, all on one path from the image.
        protocol: the stimuli; None for the defaults.
        surround: whether to show lower contrasts and `SURROUNDS` too.
        geometry: geometries of layers; those of other layers are measured.
        pixels_per_pass: pixels of images per forward pass; None for as many as the free memory of
            the device allows. Passes become smaller where memory does not suffice.
        background: (3, H, W), an image in [0, 1] behind the stimuli, its middle enlarged to the
            display; image and stimuli have half of their contrast. `GratingResponses.blank` is the
            response to the image without stimuli. None for grey.

    Raises:
        ValueError: there is no such layer, its output is not a map, or no forward pass runs through
            all layers.
    """
    protocol = protocol or GratingProtocol()
    known = {name: (geometry or {}).get(name) or measure_geometry(network, name) for name in names}
    with temporary_eval_mode(network), torch.no_grad():
        recorder = _GratingRecorder(network, known, protocol, pixels_per_pass, background)
        return recorder.record_surround() if surround else recorder.responses


class _GratingRecorder:
    """Recorder of `GratingResponses`; `responses` holds all but the surround conditions."""

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

    def _record(
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
            responses = self._record(draw, self.centres[index], mesh, mesh[0])
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

    def record_surround(self) -> dict[str, GratingResponses]:
        """Return `responses` with those to lower contrasts and to surrounds.

        Full contrast, alone and with a surround at its own orientation, is in the full grid.
        """
        known = self.responses
        best = {name: _summation_grating(r) for name, r in known.items()}
        shown = {name: _grating_values(self.protocol, at) for name, at in best.items()}

        def full_contrast(name: str, radius: Any) -> ResponseArray:
            _, frequency, orientation = best[name].T
            units = np.arange(len(frequency))
            return np.asarray(known[name].gratings[units, radius, frequency, orientation])[:, None]

        lower = [(contrast, 0, 0) for contrast in CONTRASTS[:-1]]
        low = self._record_own({n: _with_surrounds(v, lower) for n, v in shown.items()})
        alone = {n: np.append(low[n], full_contrast(n, best[n][:, 0]), 1) for n in known}
        lowest = {n: _lowest_contrast(alone[n], r) for n, r in known.items()}
        contrast = {n: np.array(CONTRASTS)[i] for n, i in lowest.items()}
        ring = {
            n: _with_surrounds(v, [(contrast[n], 1, 0), (1, 1, 90), (0, 1, 0)])
            for n, v in shown.items()
        }
        largest = {n: v[:, 0] == self.protocol.radius[-1] for n, v in shown.items()}
        for n, rows in ring.items():
            rows[largest[n]] = np.nan  # no room for a surround
        around = self._record_own(ring)
        result = {}
        for n, r in known.items():
            units = np.arange(len(r.blank))
            none = np.broadcast_to(r.blank[:, None], alone[n][:, 0].shape)
            bare = np.stack([alone[n][units, lowest[n]], alone[n][:, -1], none], 1)
            low, ortho, annulus = np.where(largest[n][:, None, None], bare, around[n]).swapaxes(
                0, 1
            )
            parts = [alone[n], low[:, None], full_contrast(n, -1), ortho[:, None], annulus[:, None]]
            result[n] = replace(r, surround=np.concatenate(parts, 1), low_contrast=lowest[n])
        return result

    def _record_own(self, stimuli_of: Mapping[str, FloatArray]) -> dict[str, ResponseArray]:
        """Record the responses of units to stimuli of their own at all phases, {layer: (U, K, P)}.

        Stimuli that several units share are shown once, to the layers up to the last that needs
        them.

        Args:
            stimuli_of: {layer: (U, K, V)}, the values of `_draw_surround` but the phase. Those with
                NaN are not shown; their responses are 0.
        """
        layers, phase = [*self.reader.geometry], np.array(self.protocol.phase)  # in forward order
        result = {
            name: np.zeros((*rows.shape[:2], len(phase)), np.float32)
            for name, rows in stimuli_of.items()
        }
        for index in np.unique(np.concatenate([*self.group.values()])):
            members = {name: np.flatnonzero(g == index) for name, g in self.group.items()}
            rows = {name: np.concatenate([*stimuli_of[name][members[name]]]) for name in layers}
            every = np.concatenate([*rows.values()])
            distinct = np.unique(every[np.isfinite(every).all(1)], axis=0)
            needs = [(rows[name][:, None] == distinct).all(2).any(0) for name in layers]
            deepest = np.max([i * need for i, need in enumerate(needs)], 0)
            for last in np.unique(deepest):
                part, read = distinct[deepest == last], layers[: last + 1]
                shown = np.repeat(part, len(phase), 0).T
                responses = self._record(
                    self._draw_surround,
                    self.centres[index],
                    [*shown, np.tile(phase, len(part))],
                    np.where(shown[4] > 0, self.protocol.radius[-1], shown[0]),
                    read,
                )
                for name in read:
                    row, which = (rows[name][:, None] == part).all(2).nonzero()
                    place, condition = np.divmod(row, stimuli_of[name].shape[1])
                    unit = members[name][place]
                    z = responses[name].reshape(len(part), len(phase), -1)
                    result[name][unit, condition] = z[which, :, unit]
        return result

    def _draw_surround(
        self, size: stimuli.ImageSize, at: stimuli.ImagePosition, *values: FloatArray
    ) -> Tensor:
        radius, frequency, orientation, centre, surround, angle, phase = values
        scale, border = self.protocol.pixels_per_degree, self.protocol.radius[-1]
        draw = partial(stimuli.grating_images, size, at, frequency / scale)
        middle = draw(orientation, phase, centre * MID_GREY, radius * scale)
        ring = draw(
            orientation + angle, phase, surround * MID_GREY, [border * scale], radius * scale
        )
        return middle + ring - MID_GREY


def _summation_grating(responses: GratingResponses) -> NDArray[np.int64]:
    """Return the indices of radius, frequency and orientation of the units' best grating, (U, 3).

    The radius is the smallest with 95 % of the peak.
    """
    z, grey = np.maximum(responses.gratings, 0), np.maximum(responses.blank, 0)
    amplitude = larger_component(*phase_response(z, grey, np.array(responses.protocol.phase)))
    _, frequency, orientation = best_grating(amplitude).T
    curve = amplitude[np.arange(len(amplitude)), :, frequency, orientation]
    enough = (curve >= SUMMATION_LEVEL * curve.max(1, keepdims=True)).argmax(1)
    return np.column_stack([enough, frequency, orientation])


def _grating_values(protocol: GratingProtocol, indices: NDArray[np.int64]) -> FloatArray:
    """Return radius (degrees), frequency and orientation, (U, 3), of their indices."""
    axes = protocol.radius, protocol.frequency, protocol.orientation
    return np.column_stack([np.array(a)[i] for a, i in zip(axes, indices.T, strict=True)])


def _with_surrounds(gratings: FloatArray, conditions: Sequence[tuple[Any, ...]]) -> FloatArray:
    """Return gratings (U, 3) in K conditions, (U, K, 6).

    Args:
        gratings: `_grating_values`.
        conditions: contrast of the centre, contrast of the surround, and angle between the two in
            degrees; numbers or (U,).
    """
    columns = [
        np.column_stack([gratings, *(np.broadcast_to(v, len(gratings)) for v in condition)])
        for condition in conditions
    ]
    return np.stack(columns, 1)


def _lowest_contrast(alone: ResponseArray, responses: GratingResponses) -> NDArray[np.int64]:
    """Return the index of the lowest contrast that excites each rectified unit, (U,).

    Args:
        alone: (U, C, P), at `CONTRASTS`.
        responses: of the layer.
    """
    z, grey = np.maximum(alone, 0), np.maximum(responses.blank, 0)
    amplitude = larger_component(*phase_response(z, grey, np.array(responses.protocol.phase)))
    return np.asarray((amplitude > 0).argmax(1))


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
