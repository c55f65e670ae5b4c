"""What all units of a layer answer to simple stimuli on grey, forward passes only."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from deepsal.rf.geometry import FieldGeometry
from deepsal.rf.geometry import measure_geometry as measured
from deepsal.rf.hooks import temporary_eval_mode
from deepsal.rf.measures.profile import FloatArray
from deepsal.rf.tuning import stimuli
from deepsal.rf.tuning.recording import MiddleUnitRecorder, ResponseArray


@dataclass(frozen=True)
class StimulusBattery:
    """The stimuli of one layer, scaled to its field; 279 in all.

    radius: (12,) pixels, of disks, from 1 to where a disk fills the field; annuli leave the
    middle grey up to radius[:-1:2] · offset: (5,) pixels from the field's centre, rows and columns
    of spots, whose radius is half their spacing · frequency: (7,) cycles per pixel, from one per
    field up to 0.4 · orientation: (6,) and phase: (4,) degrees, of gratings · direction: (12,)
    degrees, of edges · coloured: (3,) pixels, of disks along `stimuli.AXES` · contrast: ± of grey.
    """

    radius: FloatArray
    offset: FloatArray
    frequency: FloatArray
    orientation: FloatArray
    phase: FloatArray
    direction: FloatArray
    coloured: FloatArray
    contrast: float


@dataclass(frozen=True)
class BatteryResponses:
    """What U units answered before their rectifier, less what they answer to grey; float32.

    battery: the stimuli · unit: (row, column) in the layer's output · centre: of its field, (row,
    column) in the image, pixels · grey: (U,) · disks: (U, 2, R), bright and dark · annuli: (U, 2,
    R/2), by inner radius · spots: (U, 2, 5, 5), by row and column · gratings: (U, F, O, P) ·
    edges: (U, D) · colours: (U, 3, 2, C), by axis, sign and radius.
    """

    battery: StimulusBattery
    unit: tuple[int, int]
    centre: tuple[float, float]
    grey: ResponseArray
    disks: ResponseArray
    annuli: ResponseArray
    spots: ResponseArray
    gratings: ResponseArray
    edges: ResponseArray
    colours: ResponseArray


def record_responses(
    network: nn.Module,
    names: Sequence[str],
    size: tuple[int, int],
    geometry: Mapping[str, FieldGeometry] | None = None,
    contrast: float = 0.5,
    pixels: int | None = None,
) -> dict[str, BatteryResponses]:
    """Show simple stimuli to the unit in the middle of each channel of some layers.

    One forward pass over 279 stimuli serves all units of a layer, on the smallest crop in which
    they do what they do in the whole image; it ends at the layer. Stimuli are centred on the
    units' field (u·S − P + (r − 1)/2; u·S + (S − 1)/2 where global context leaves no size r) and
    scaled to it, or to the image where that is smaller. The network is left as it was.

    Args:
        network: any module that takes RGB images in [0, 1], grey being 0.5.
        names: dotted names of the layers.
        size: (height, width) of the image.
        geometry: of the layers, as far as known (the others are measured).
        contrast: of the stimuli, up to 0.5.
        pixels: of images per forward pass; None: what the device's memory has room for. Where
            memory does not suffice, the passes become smaller.

    Returns:
        `{name: Responses}`; `deepsal.rf.tuning_indices` makes numbers of them.

    Raises:
        ValueError: no such layer, a compiled network, a contrast outside (0, 0.5], a layer whose
            output is not a map or has no unit there, or one that looks beyond its field or mixes
            images.
    """
    shown = _layer_recorders(network, names, size, geometry, contrast, pixels)
    return {name: _record_battery(layer, contrast) for name, layer in shown}


def record_disk_responses(
    network: nn.Module,
    names: Sequence[str],
    size: tuple[int, int],
    geometry: Mapping[str, FieldGeometry] | None = None,
    contrast: float = 0.5,
    pixels: int | None = None,
) -> dict[str, tuple[FloatArray, ResponseArray]]:
    """Show disks only, for a tenth of the cost of `record_responses`.

    Args and errors as of `record_responses`; `tuning.ssi` makes a number of them.

    Returns:
        Of each layer `StimulusBattery.radius` (R,), pixels, and `BatteryResponses.disks` (U, 2, R).
    """
    shown = _layer_recorders(network, names, size, geometry, contrast, pixels)
    radii = (
        (name, layer, scale_battery(layer.geometry, size, layer.centre).radius)
        for name, layer in shown
    )
    return {name: (radius, layer.disks(radius, contrast)) for name, layer, radius in radii}


def scale_battery(
    geometry: FieldGeometry,
    size: tuple[int, int],
    centre: tuple[float, float],
    contrast: float = 0.5,
) -> StimulusBattery:
    """Scale the stimuli to the part of a field that lies in an image.

    Args:
        geometry: of the layer.
        size: (height, width) of the image.
        centre: (row, column) of the field's centre.
        contrast: ± around grey.

    >>> b = scale_battery(FieldGeometry((31, 31), (1, 1), (0, 0)), (64, 64), (31.5, 31.5))
    >>> b.radius[[0, -1]].round(1).tolist(), b.offset.round(1).tolist()
    ([1.0, 21.7], [-12.4, -6.2, 0.0, 6.2, 12.4])
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
        radius,
        span / 5 * np.arange(-2.0, 3.0),
        np.geomspace(min(1 / span, 0.1), 0.4, 7),
        np.arange(0.0, 180.0, 30.0),
        np.arange(0.0, 360.0, 90.0),
        np.arange(0.0, 360.0, 30.0),
        radius[3::4],
        contrast,
    )


def _layer_recorders(
    network: nn.Module,
    names: Sequence[str],
    size: tuple[int, int],
    geometry: Mapping[str, FieldGeometry] | None,
    contrast: float,
    pixels: int | None,
) -> Iterator[tuple[str, MiddleUnitRecorder]]:
    if not 0 < contrast <= 0.5:
        raise ValueError(f"contrast is {contrast}; it must be above 0 and at most 0.5")
    known = geometry or {}
    with temporary_eval_mode(network), torch.no_grad():
        for name in names:
            of_layer = known.get(name) or measured(network, name)
            yield name, MiddleUnitRecorder(network, name, size, of_layer, pixels)


def _record_battery(layer: MiddleUnitRecorder, contrast: float) -> BatteryResponses:
    b = scale_battery(layer.geometry, layer.size, layer.centre, contrast)
    signs = np.array([contrast, -contrast])
    annuli = partial(stimuli.annulus_images, outer=float(b.radius[-1]))
    spots = partial(_spot_grid_images, radius=(b.offset[1] - b.offset[0]) / 2)
    gratings = partial(stimuli.grating_images, contrast=signs[:1])
    edges = partial(stimuli.edge_images, contrast=signs[:1])
    colours = [
        partial(stimuli.disk_images, colour=colour)
        for colour in [*stimuli.COLOUR_AXES.values()][1:]
    ]
    disks = layer.disks(b.radius, contrast)
    grey = disks[..., np.isin(b.radius, b.coloured)]
    return BatteryResponses(
        b,
        layer.unit,
        layer.centre,
        layer.grey[0].cpu().numpy(),
        disks,
        layer.answers(annuli, contrast=signs, inner=b.radius[:-1:2]),
        layer.answers(spots, contrast=signs, row=b.offset, column=b.offset),
        layer.answers(gratings, frequency=b.frequency, orientation=b.orientation, phase=b.phase),
        layer.answers(edges, direction=b.direction),
        np.stack(
            [grey, *(layer.answers(c, contrast=signs, radius=b.coloured) for c in colours)], 1
        ),
    )


def _spot_grid_images(
    size: stimuli.ImageSize,
    centre: stimuli.ImagePosition,
    row: FloatArray,
    column: FloatArray,
    radius: float,
    contrast: FloatArray,
) -> Tensor:
    at = np.column_stack([centre[0] + row, centre[1] + column])
    return stimuli.spot_images(size, at, [radius], contrast)
