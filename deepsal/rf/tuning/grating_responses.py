"""Responses of all units of several layers to gratings of physiology, each centred on its field."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from deepsal.rf.geometry import FieldGeometry, measure_geometry
from deepsal.rf.hooks import temporary_eval_mode
from deepsal.rf.tuning.grating_protocol import GratingProtocol, GratingResponses
from deepsal.rf.tuning.grating_recorder import GratingRecorder
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
        return record_surround(recorder) if surround else recorder.responses
