"""Size tuning of all units of VGG16, against a loop over units as replications write it."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models import vgg16

from deepsal.rf.mapping.readout import UnitReadout
from deepsal.rf.tuning import stimuli
from deepsal.rf.tuning.grating_protocol import CONTRASTS, GratingProtocol
from deepsal.rf.tuning.grating_responses import record_grating_responses
from deepsal.rf.tuning.size_tuning import best_grating, larger_component, phase_response
from tests.bench.harness import Row, side_by_side

LAYERS = {"features.15": 256, "features.22": 512, "features.29": 512}
"""The ends of conv3, conv4 and conv5, and their units."""
LOOPED = {"features.15": 5, "features.22": 5, "features.29": 6}
"""Units of the loop; its time is extrapolated to all."""
PROTOCOL = GratingProtocol(
    pixels_per_degree=14.0,
    display=5.0,
    radius=GratingProtocol().radius[1::2],
    frequency=(1.542, 3.084),
    orientation=(0.0, 45.0, 90.0, 135.0),
    phase=(0.0, 60.0, 120.0, 180.0, 240.0, 300.0),
)
"""Fewer pixels than those of `deepsal.rf.v1` and an eighth of its gratings, so that the loop ends
within minutes on a CPU."""


def run(only: str, device: str = "cpu", looped: Mapping[str, int] | None = None) -> Iterator[Row]:
    """Yield one row: mapping, tuning, size, disks and surrounds of all units of three stages."""
    if only not in ("", "tuning"):
        return
    torch.manual_seed(0)
    network = vgg16(weights=None).eval().requires_grad_(False).to(device)
    ours = partial(record_grating_responses, network, [*LAYERS], PROTOCOL, surround=True)
    looped = looped or LOOPED
    units, part = sum(LAYERS.values()), sum(looped.values())
    yield side_by_side(
        "tuning",
        ours,
        partial(_loop, network, looped),
        f"loop over units, each with its own mapping, tuning, size, disks and surrounds on images "
        f"of {PROTOCOL.display:g} degrees; {units} units, extrapolated from {part}",
        repeats=1,
        scale=units / part,
        units=units,
    )


def _loop(network: nn.Module, looped: Mapping[str, int]) -> list[Tensor]:
    """Measure units one after another: mapping, tuning, size at the best grating, surrounds."""
    return [
        _measure(network, name, unit) for name, count in looped.items() for unit in range(count)
    ]


@torch.no_grad()
def _measure(network: nn.Module, name: str, unit: int) -> Tensor:
    side, scale = round(PROTOCOL.display * PROTOCOL.pixels_per_degree), PROTOCOL.pixels_per_degree
    like = next(network.parameters())
    reader = UnitReadout(network, name, torch.zeros(1, 3, side, side).to(like))
    at, phase = ((side - 1) / 2, (side - 1) / 2), np.array(PROTOCOL.phase)

    def read(images: Tensor) -> Tensor:
        z = reader.activation(images.to(like))
        return z[:, unit, z.shape[2] // 2, z.shape[3] // 2].cpu()

    def respond(values: Sequence[Any], centre: tuple[float, float] = at) -> Tensor:
        mesh = [m.ravel() for m in np.meshgrid(*values, indexing="ij")]
        parts = []
        for batch in range(0, len(mesh[0]), 16):
            radius, waves, angle, shift = (m[batch : batch + 16] for m in mesh)
            images = stimuli.grating_images(
                (side, side), centre, waves / scale, angle, shift, radius=radius * scale
            )
            parts.append(read(images))
        return torch.cat(parts).reshape(*(len(v) for v in values))

    places = at[0] + np.arange(-10, 11) * 0.25 * scale
    for place in [(y, x) for y in places[::5] for x in places[::5]]:
        respond([[1 / 6], [3.0], [0.0, 45.0, 90.0, 135.0], [0.0, 180.0]], place)
    tuning = [[PROTOCOL.tuning_radius], PROTOCOL.frequency, PROTOCOL.orientation, phase]
    z = respond(tuning).numpy()
    amplitude = larger_component(*phase_response(z[None], np.zeros(1, np.float32), phase))
    _, frequency, orientation = best_grating(amplitude)[0]
    best = [PROTOCOL.frequency[frequency]], [PROTOCOL.orientation[orientation]]
    respond([PROTOCOL.radius[:1], PROTOCOL.tuning_frequencies(), best[1], phase])
    disks = [radius * scale for radius in PROTOCOL.radius]
    for contrast in (0.5, -0.5):
        read(stimuli.disk_images((side, side), at, disks, [contrast]))
    surrounds = [(1.0, 1.0, 90.0), (0.0, 1.0, 0.0), (CONTRASTS[0], 1.0, 0.0)]
    for contrast, around, turn in [*((c, 0.0, 0.0) for c in CONTRASTS[:-1]), *surrounds]:
        wave, inner = [best[0][0] / scale], [PROTOCOL.radius[2] * scale]
        middle, ring = (
            stimuli.grating_images(
                (side, side), at, wave, [angle], phase, [strength / 2], radius, hole
            )
            for angle, strength, radius, hole in (
                (best[1][0], contrast, inner, None),
                (best[1][0] + turn, around, [PROTOCOL.radius[-1] * scale], inner),
            )
        )
        read(middle + ring - 0.5)
    return respond([PROTOCOL.radius, *best, phase])
