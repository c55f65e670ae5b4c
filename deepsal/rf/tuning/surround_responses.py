"""Responses of units to their best grating at lower contrasts and in surrounds.

Shapes: U units, K conditions, C contrasts, P phases.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from deepsal.rf.measures.profile import FloatArray
from deepsal.rf.patches import MID_GREY
from deepsal.rf.tuning import stimuli
from deepsal.rf.tuning.grating_protocol import CONTRASTS, GratingProtocol, GratingResponses
from deepsal.rf.tuning.grating_recorder import GratingRecorder
from deepsal.rf.tuning.indices import ResponseArray
from deepsal.rf.tuning.size_tuning import (
    SUMMATION_LEVEL,
    best_grating,
    larger_component,
    phase_response,
)


def record_surround(
    recorder: GratingRecorder, known: Mapping[str, GratingResponses]
) -> dict[str, GratingResponses]:
    """Return responses with those to lower contrasts and to surrounds.

    Full contrast, alone and with a surround at its own orientation, is in the full grid.

    Args:
        recorder: of the layers.
        known: their responses to the full grid.
    """
    best = {name: _summation_grating(r) for name, r in known.items()}
    shown = {name: _grating_values(recorder.protocol, at) for name, at in best.items()}

    def full_contrast(name: str, radius: Any) -> ResponseArray:
        _, frequency, orientation = best[name].T
        units = np.arange(len(frequency))
        return np.asarray(known[name].gratings[units, radius, frequency, orientation])[:, None]

    lower = [(contrast, 0, 0) for contrast in CONTRASTS[:-1]]
    low = _record_own(recorder, {n: _with_surrounds(v, lower) for n, v in shown.items()})
    alone = {n: np.append(low[n], full_contrast(n, best[n][:, 0]), 1) for n in known}
    lowest = {n: _lowest_contrast(alone[n], r) for n, r in known.items()}
    contrast = {n: np.array(CONTRASTS)[i] for n, i in lowest.items()}
    ring = {
        n: _with_surrounds(v, [(contrast[n], 1, 0), (1, 1, 90), (0, 1, 0)])
        for n, v in shown.items()
    }
    largest = {n: v[:, 0] == recorder.protocol.radius[-1] for n, v in shown.items()}
    for n, rows in ring.items():
        rows[largest[n]] = np.nan  # no room for a surround
    around = _record_own(recorder, ring)
    result = {}
    for n, r in known.items():
        units = np.arange(len(r.blank))
        none = np.broadcast_to(r.blank[:, None], alone[n][:, 0].shape)
        bare = np.stack([alone[n][units, lowest[n]], alone[n][:, -1], none], 1)
        low, ortho, annulus = np.where(largest[n][:, None, None], bare, around[n]).swapaxes(0, 1)
        parts = [alone[n], low[:, None], full_contrast(n, -1), ortho[:, None], annulus[:, None]]
        result[n] = replace(r, surround=np.concatenate(parts, 1), low_contrast=lowest[n])
    return result


def _record_own(
    recorder: GratingRecorder, stimuli_of: Mapping[str, FloatArray]
) -> dict[str, ResponseArray]:
    """Record the responses of units to stimuli of their own at all phases, {layer: (U, K, P)}.

    Stimuli that several units share are shown once, to the layers up to the last that needs
    them.

    Args:
        recorder: of the layers.
        stimuli_of: {layer: (U, K, V)}, the values of `_draw_surround` but the phase. Those with
            NaN are not shown; their responses are 0.
    """
    layers = [*recorder.reader.geometry]  # in forward order
    phase = np.array(recorder.protocol.phase)
    result = {
        name: np.zeros((*rows.shape[:2], len(phase)), np.float32)
        for name, rows in stimuli_of.items()
    }
    for index in np.unique(np.concatenate([*recorder.group.values()])):
        members = {name: np.flatnonzero(g == index) for name, g in recorder.group.items()}
        rows = {name: stimuli_of[name][members[name]] for name in layers}
        rows = {name: of.reshape(-1, of.shape[2]) for name, of in rows.items()}
        every = np.concatenate([*rows.values()])
        distinct = np.unique(every[np.isfinite(every).all(1)], axis=0)
        needs = [(rows[name][:, None] == distinct).all(2).any(0) for name in layers]
        deepest = np.max([i * need for i, need in enumerate(needs)], 0)
        for last in np.unique(deepest):
            part, read = distinct[deepest == last], layers[: last + 1]
            shown = np.repeat(part, len(phase), 0).T
            responses = recorder.record(
                partial(_draw_surround, recorder.protocol),
                recorder.centres[index],
                [*shown, np.tile(phase, len(part))],
                np.where(shown[4] > 0, recorder.protocol.radius[-1], shown[0]),
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
    protocol: GratingProtocol,
    size: stimuli.ImageSize,
    at: stimuli.ImagePosition,
    *values: FloatArray,
) -> Tensor:
    radius, frequency, orientation, centre, surround, angle, phase = values
    scale, border = protocol.pixels_per_degree, protocol.radius[-1]
    draw = partial(stimuli.grating_images, size, at, frequency / scale)
    middle = draw(orientation, phase, centre * MID_GREY, radius * scale)
    ring = draw(orientation + angle, phase, surround * MID_GREY, [border * scale], radius * scale)
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
