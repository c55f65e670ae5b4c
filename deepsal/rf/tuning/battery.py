"""Stimulus battery of a layer, and the recorded responses of all its units; forward passes only.

Shapes: U units, R radii, F frequencies, O orientations, P phases, C coloured radii.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import nn

from deepsal.rf.geometry import FieldGeometry, measure_geometry
from deepsal.rf.hooks import temporary_eval_mode
from deepsal.rf.measures.profile import FloatArray
from deepsal.rf.tuning import stimuli
from deepsal.rf.tuning.recording import MiddleUnitRecorder, ResponseArray


@dataclass(frozen=True)
class StimulusBattery:
    """The 205 stimuli of one layer, scaled to its field."""

    radius: FloatArray
    """(12,) radii of disks in pixels, from 1 to a disk that fills the field."""
    frequency: FloatArray
    """(7,) of gratings, cycles per pixel, from one per field up to 0.4."""
    orientation: FloatArray
    """(6,) of gratings, degrees."""
    phase: FloatArray
    """(4,) of gratings, degrees."""
    coloured_radius: FloatArray
    """(3,) radii in pixels of disks along `stimuli.COLOUR_AXES`."""
    contrast: float
    """Contrast of all stimuli, ± from grey."""


@dataclass(frozen=True)
class BatteryResponses:
    """Responses of a layer's units before their rectifier, minus the response to grey; float32."""

    battery: StimulusBattery
    unit: tuple[int, int]
    """(row, column) in the output of the layer."""
    centre: tuple[float, float]
    """(row, column) in the image of the centre of the field, pixels."""
    grey: ResponseArray
    """(U,), the response to grey itself."""
    disks: ResponseArray
    """(U, 2, R): bright and dark."""
    gratings: ResponseArray
    """(U, F, O, P)."""
    colours: ResponseArray
    """(U, 3, 2, C): by colour axis, sign and radius."""


def record_responses(
    network: nn.Module,
    names: Sequence[str],
    size: tuple[int, int],
    geometry: Mapping[str, FieldGeometry] | None = None,
    contrast: float = 0.5,
    pixels_per_pass: int | None = None,
) -> dict[str, BatteryResponses]:
    """Record the responses of the middle unit of each channel of layers to simple stimuli.

    One forward pass over 205 stimuli serves all units of a layer. It ends at the layer and runs on
    the smallest crop in which the units respond as in the whole image. Stimuli are centred on the
    field of the units (u·S − P + (r − 1)/2; u·S + (S − 1)/2 where global context leaves no size r)
    and scaled to it, or to the image if that is smaller. The network is left as it was.

    Args:
        network: any module that takes RGB images in [0, 1], grey being 0.5.
        names: dotted names of the layers.
        size: (height, width) of the image.
        geometry: geometries of layers; those of other layers are measured.
        contrast: contrast of the stimuli, up to 0.5.
        pixels_per_pass: pixels of images per forward pass; None for as many as the free memory of
            the device allows. Passes become smaller where memory does not suffice.

    Returns:
        `{name: BatteryResponses}`; `tuning_indices` summarises them.

    Raises:
        ValueError: there is no such layer, the network is compiled, the contrast is outside
            (0, 0.5], the output of a layer is not a map or has no unit at that position, or a layer
            reads beyond its field or mixes images.
    """
    recorders = _layer_recorders(network, names, size, geometry, contrast, pixels_per_pass)
    return {name: _record_battery(recorder, contrast) for name, recorder in recorders}


def record_disk_responses(
    network: nn.Module,
    names: Sequence[str],
    size: tuple[int, int],
    geometry: Mapping[str, FieldGeometry] | None = None,
    contrast: float = 0.5,
    pixels_per_pass: int | None = None,
) -> dict[str, tuple[FloatArray, ResponseArray]]:
    """Record the responses to disks only, for a tenth of the cost of `record_responses`.

    Arguments and errors are those of `record_responses`. `surround_suppression_index` summarises
    the responses.

    Returns:
        `StimulusBattery.radius` (R,), pixels, and `BatteryResponses.disks` (U, 2, R) of each layer.
    """
    responses = {}
    recorders = _layer_recorders(network, names, size, geometry, contrast, pixels_per_pass)
    for name, recorder in recorders:
        radius = scale_battery(recorder.geometry, size, recorder.centre).radius
        responses[name] = radius, recorder.record_disks(radius, contrast)
    return responses


def scale_battery(
    geometry: FieldGeometry,
    size: tuple[int, int],
    centre: tuple[float, float],
    contrast: float = 0.5,
) -> StimulusBattery:
    """Scale the stimuli to the part of a field that lies in an image.

    Args:
        geometry: geometry of the layer.
        size: (height, width) of the image.
        centre: (row, column) of the centre of the field.
        contrast: contrast of the stimuli, ± from grey.

    >>> b = scale_battery(FieldGeometry((31, 31), (1, 1), (0, 0)), (64, 64), (31.5, 31.5))
    >>> b.radius[[0, -1]].round(1).tolist()
    [1.0, 21.7]
    >>> b.frequency.round(2).tolist()
    [0.03, 0.05, 0.07, 0.11, 0.17, 0.26, 0.4]
    """
    field = geometry.size or size
    span = max(min(r, n) for r, n in zip(field, size, strict=True))
    arms = [
        min((r - 1) / 2, max(at, n - 1 - at)) if geometry.size else max(at, n - 1 - at)
        for r, n, at in zip(field, size, centre, strict=True)
    ]
    radius = np.geomspace(1, max(math.hypot(*arms) + 0.5, 2), 12)
    return StimulusBattery(
        radius=radius,
        frequency=np.geomspace(min(1 / span, 0.1), 0.4, 7),
        orientation=np.arange(0.0, 180.0, 30.0),
        phase=np.arange(0.0, 360.0, 90.0),
        coloured_radius=radius[3::4],
        contrast=contrast,
    )


def _layer_recorders(
    network: nn.Module,
    names: Sequence[str],
    size: tuple[int, int],
    geometry: Mapping[str, FieldGeometry] | None,
    contrast: float,
    pixels_per_pass: int | None,
) -> Iterator[tuple[str, MiddleUnitRecorder]]:
    if not 0 < contrast <= 0.5:
        raise ValueError(f"contrast is {contrast}; it must be above 0 and at most 0.5")
    with temporary_eval_mode(network), torch.no_grad():
        for name in names:
            of_layer = (geometry or {}).get(name) or measure_geometry(network, name)
            yield name, MiddleUnitRecorder(network, name, size, of_layer, pixels_per_pass)


def _record_battery(recorder: MiddleUnitRecorder, contrast: float) -> BatteryResponses:
    b = scale_battery(recorder.geometry, recorder.image_size, recorder.centre, contrast)
    signs = np.array([contrast, -contrast])
    gratings = partial(stimuli.grating_images, contrast=signs[:1])
    disks = recorder.record_disks(b.radius, contrast)
    colours = [disks[..., np.isin(b.radius, b.coloured_radius)]]
    for colour in [*stimuli.COLOUR_AXES.values()][1:]:
        draw = partial(stimuli.disk_images, colour=colour)
        colours.append(recorder.record(draw, contrast=signs, radius=b.coloured_radius))
    return BatteryResponses(
        battery=b,
        unit=recorder.unit,
        centre=recorder.centre,
        grey=recorder.grey_response[0].cpu().numpy(),
        disks=disks,
        gratings=recorder.record(
            gratings, frequency=b.frequency, orientation=b.orientation, phase=b.phase
        ),
        colours=np.stack(colours, 1),
    )
