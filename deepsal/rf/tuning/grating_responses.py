"""Responses of all units of several layers to gratings of physiology, each centred on its field."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from deepsal.rf.geometry import FieldGeometry, measure_geometry
from deepsal.rf.hooks import temporary_eval_mode
from deepsal.rf.measures.profile import FloatArray
from deepsal.rf.patches import MID_GREY
from deepsal.rf.tuning import stimuli
from deepsal.rf.tuning.grating_protocol import GratingProtocol, GratingResponses
from deepsal.rf.tuning.grating_recorder import GratingRecorder
from deepsal.rf.tuning.indices import ResponseArray
from deepsal.rf.tuning.surround_responses import record_surround


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
        recorder = GratingRecorder(network, known, protocol, pixels_per_pass, background)
        responses = _record_gratings(recorder)
        return record_surround(recorder, responses) if surround else responses


def _record_gratings(recorder: GratingRecorder) -> dict[str, GratingResponses]:
    """Record all but the surround conditions."""
    protocol, scale = recorder.protocol, recorder.protocol.pixels_per_degree
    radius, frequency = np.array(protocol.radius), np.array(protocol.frequency)
    angles = np.array(protocol.orientation), np.array(protocol.phase)

    def grating(
        size: stimuli.ImageSize, at: stimuli.ImagePosition, r: Any, f: Any, o: Any, p: Any
    ) -> Tensor:
        return stimuli.grating_images(size, at, f / scale, o, p, radius=r * scale)

    def disk(size: stimuli.ImageSize, at: stimuli.ImagePosition, r: Any, sign: Any) -> Tensor:
        return stimuli.disk_images(size, at, r * scale, sign * MID_GREY)

    gratings = _record_grid(recorder, grating, radius, frequency, *angles)
    tuning_radius, tuning_frequency = [protocol.tuning_radius], protocol.tuning_frequencies()
    tuning = _record_grid(recorder, grating, np.array(tuning_radius), tuning_frequency, *angles)
    disks = _record_grid(recorder, disk, radius, np.array([1.0, -1.0]))
    return {
        name: GratingResponses(
            protocol,
            recorder.blank[name].cpu().numpy(),
            gratings[name],
            tuning[name][:, 0],
            disks[name].swapaxes(1, 2),
            recorder.field_centre[name] / scale,
            recorder.offset[name] / scale,
        )
        for name in recorder.geometry
    }


def _record_grid(
    recorder: GratingRecorder, draw: Callable[..., Tensor], *axes: FloatArray
) -> dict[str, ResponseArray]:
    """Record all combinations of values at each channel's stimulus centre, (U, *axes).

    The first axis is the radius of a circle that holds the stimulus, degrees.
    """
    mesh = [m.ravel() for m in np.meshgrid(*axes, indexing="ij")]
    shape = [len(axis) for axis in axes]
    result = {n: np.zeros((len(z), *shape), np.float32) for n, z in recorder.blank.items()}
    for index in np.unique(np.concatenate([*recorder.group.values()])):
        responses = recorder.record(draw, recorder.centres[index], mesh, mesh[0])
        for name, z in responses.items():
            members = recorder.group[name] == index
            result[name][members] = z.T[members].reshape(members.sum(), *shape)
    return result
