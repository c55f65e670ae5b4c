"""Tuning indices of units from their responses to the gratings of physiology.

Shapes: U units, R radii, P phases.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepsal.rf.measures.profile import FloatArray
from deepsal.rf.tuning.grating_protocol import CONTRASTS, GratingResponses
from deepsal.rf.tuning.indices import (
    ResponseArray,
    on_off_index,
    orientation_selectivity,
    positive_ratio,
    preferred_value,
    surround_suppression_index,
)
from deepsal.rf.tuning.size_tuning import (
    SUPPRESSED,
    best_grating,
    half_height_width,
    larger_component,
    phase_response,
    summation_field,
    suppression_index,
    surround_diameter,
)

MEDIAN_MAXIMUM, MEDIAN_SPONTANEOUS = 33.8, 0.82
"""Medians over the units of macaque V1, spikes per second; Marques, Schrimpf & DiCarlo 2021."""
RESPONSIVE_RATE = 5.0
"""Maximum rate above which a unit is responsive, spikes per second."""
CENTRED_WITHIN = 0.15
"""Largest distance of a field from the stimuli, degrees; Cavanaugh, Bair & Movshon 2002."""


@dataclass(frozen=True)
class SizeTuningIndices:
    """Tuning indices of a layer's units, and their standard errors."""

    index: dict[str, FloatArray]
    """`{index: (U,)}`; see `size_tuning_indices`."""
    error: dict[str, FloatArray]
    """`{index: (U,)}`, |a − b|/2 of the index from every second phase and from the others."""
    responsive: NDArray[np.bool_]
    """(U,), whether the maximum rate exceeds 5 spikes per second."""
    silent: int
    """Number of units that no grating excites."""
    curve: FloatArray
    """(U, R), the response at the unit's best frequency and orientation."""
    centred: NDArray[np.bool_]
    """(U,), whether the field was measured and lies within .15 degrees of the stimuli."""


def size_tuning_indices(responses: GratingResponses, rectified: bool = True) -> SizeTuningIndices:
    """Return the tuning indices of each unit at its own best grating.

    The response is the mean over phases minus that to grey (DC), or twice the first harmonic (F1),
    whichever has the larger maximum for the unit. Indices: ssi (`suppression_index`) ·
    preferred_diameter, summation_field, surround_diameter (degrees) · surround_ratio, the surround
    over the summation field · frequency (cycles per degree) and frequency_bandwidth (octaves at
    half height) · orientation (degrees), circular_variance (1 − OSI of `orientation_selectivity`)
    and orientation_bandwidth (degrees at half height) · modulation, F1/DC (above 1: simple; Skottun
    et al. 1991) · disk_ssi and on_off (`surround_suppression_index` and `on_off_index` of disks).

    With the responses to surrounds: contrast_exponent, the exponent n of R = k·cⁿ over contrasts of
    the centre up to the strongest response · low_contrast_suppression, 1 − R(centre and
    surround)/R(centre) at the lowest contrast of the centre that excites the unit · iso_suppression
    and ortho_suppression, the same at full contrast, the surround at the orientation of the centre
    or across it (Cavanaugh, Bair & Movshon 2002, J Neurophysiol 88:2547,
    doi:10.1152/jn.00693.2001) · annulus_response, R(surround alone)/R(centre).

    Args:
        responses: of one layer.
        rectified: whether units are rectified at 0 first, as firing rates are.
    """
    halves = [slice(None), slice(0, None, 2), slice(1, None, 2)]
    (curve, whole), (_, even), (_, odd) = (_indices(responses, rectified, part) for part in halves)
    spread = {key: np.abs(even[key] - odd[key]) / 2 for key in whole}
    z = np.maximum(responses.gratings, 0).reshape(len(responses.blank), -1).max(1)
    distance = np.hypot(*responses.offset.T)
    measured = np.isfinite(responses.field_centre).all(1)
    return SizeTuningIndices(
        whole,
        spread,
        is_responsive(z, np.maximum(responses.blank, 0)),
        int(np.isnan(whole["ssi"]).sum()),
        curve,
        measured & (distance <= CENTRED_WITHIN),
    )


def mean_over_images(parts: Sequence[SizeTuningIndices]) -> SizeTuningIndices:
    """Return the mean indices of units over images behind the stimuli, NaN left out.

    The errors are those of the mean over images; NaN for one image. A unit is responsive if it is
    on half of the images or more, and silent if no image has a value.
    """
    index = {key: np.array([of.index[key] for of in parts]) for key in parts[0].index}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a unit without values
        means = {key: np.nanmean(values, 0) for key, values in index.items()}
        spread = {key: np.nanstd(values, 0, ddof=1) for key, values in index.items()}
    return SizeTuningIndices(
        means,
        {key: values / np.sqrt(len(parts)) for key, values in spread.items()},
        np.mean([of.responsive for of in parts], 0) >= 0.5,
        int(np.isnan(means["ssi"]).sum()),
        np.mean([of.curve for of in parts], 0),
        parts[0].centred,
    )


def responsive_suppression(tuning: SizeTuningIndices) -> dict[str, FloatArray]:
    """Return the suppression of a layer's responsive units by gratings and by disks.

    Args:
        tuning: of one layer, rectified.

    Returns:
        `{index: (U,)}`: ssi, at the unit's own best grating · suppressed, 1 from an ssi of .1 on,
        else 0 · disk_ssi. NaN for units that are not responsive.
    """
    ssi, disk_ssi = (
        np.where(tuning.responsive, tuning.index[name], np.nan) for name in ("ssi", "disk_ssi")
    )
    suppressed = np.where(np.isfinite(ssi), ssi >= SUPPRESSED, np.nan)
    return {"ssi": ssi, "suppressed": suppressed, "disk_ssi": disk_ssi}


def is_responsive(maximum: ResponseArray, spontaneous: ResponseArray) -> NDArray[np.bool_]:
    """Return whether units (U,) respond, by the rates of macaque V1.

    One affine map turns a layer's rectified responses into rates: the medians over its units become
    33.8 (maximum) and .82 (grey) spikes per second. A unit whose maximum exceeds 5 is responsive.

    >>> is_responsive(np.array([0.0, 1.0, 2.0]), np.zeros(3)).tolist()
    [False, True, True]
    """
    driven = maximum > spontaneous
    span = np.median(maximum[driven]) - np.median(spontaneous) if driven.any() else 0.0
    if span <= 0:
        return np.zeros(len(maximum), bool)
    gain = (MEDIAN_MAXIMUM - MEDIAN_SPONTANEOUS) / span
    rate = MEDIAN_SPONTANEOUS + gain * (maximum - np.median(spontaneous))
    return np.asarray(driven & (rate > RESPONSIVE_RATE))


def _indices(
    responses: GratingResponses, rectified: bool, part: slice
) -> tuple[FloatArray, dict[str, FloatArray]]:
    """Return size tuning curves (U, R), and indices, from a part of the phases."""
    protocol = responses.protocol
    phase, radius = np.array(protocol.phase)[part], np.array(protocol.radius)
    z, tuning, grey, disks = responses.gratings, responses.tuning, responses.blank, responses.disks
    if rectified:
        z, tuning, grey, disks = (np.maximum(x, 0) for x in (z, tuning, grey, disks))
    units = np.arange(len(z))
    dc, f1 = phase_response(z[..., part], grey, phase)
    amplitude = larger_component(dc, f1)
    size, frequency, orientation = best_grating(amplitude).T
    curve = amplitude[units, :, frequency, orientation]
    ratio = positive_ratio(
        f1[units, size, frequency, orientation], dc[units, size, frequency, orientation]
    )
    excited = curve.max(1) > 0
    indices = {
        "ssi": suppression_index(curve),
        "preferred_diameter": 2 * preferred_value(curve, radius),
        "summation_field": summation_field(curve, radius),
        "surround_diameter": surround_diameter(curve, radius),
        "modulation": np.where(excited, ratio, np.nan),
    }
    indices["surround_ratio"] = indices["surround_diameter"] / indices["summation_field"]
    change = disks - grey[:, None, None]
    indices |= {"disk_ssi": surround_suppression_index(change), "on_off": on_off_index(change)}
    if responses.surround is not None:
        indices |= _surround_indices(responses, rectified, part)
    frequencies, angles = protocol.tuning_frequencies(), np.array(protocol.orientation)
    if not len(frequencies):
        return curve, indices
    tuned = larger_component(*phase_response(tuning[..., part], grey, phase))
    best = tuned.max(2).argmax(1)
    osi, preferred = orientation_selectivity(np.maximum(tuned[units, best], 0), angles)
    across = tuned[units, best].argmax(1)
    octaves = half_height_width(tuned[units, :, across], np.log2(frequencies))
    return curve, indices | {
        "frequency": preferred_value(tuned.max(2), frequencies),
        "frequency_bandwidth": octaves,
        "orientation": preferred,
        "circular_variance": 1 - osi,
        "orientation_bandwidth": half_height_width(tuned[units, best], angles, 180.0),
    }


def _surround_indices(
    responses: GratingResponses, rectified: bool, part: slice
) -> dict[str, FloatArray]:
    assert responses.surround is not None
    z, grey = responses.surround, responses.blank
    if rectified:
        z, grey = np.maximum(z, 0), np.maximum(grey, 0)
    phase = np.array(responses.protocol.phase)[part]
    response = larger_component(*phase_response(z[..., part], grey, phase))
    alone, (low, iso, ortho, annulus) = (
        response[:, : len(CONTRASTS)],
        response[:, len(CONTRASTS) :].T,
    )
    low_centre, centre = alone[np.arange(len(alone)), responses.low_contrast], alone[:, -1]
    return {
        "contrast_exponent": np.array([_contrast_exponent(row, CONTRASTS) for row in alone]),
        "low_contrast_suppression": 1 - positive_ratio(low, low_centre),
        "iso_suppression": 1 - positive_ratio(iso, centre),
        "ortho_suppression": 1 - positive_ratio(ortho, centre),
        "annulus_response": positive_ratio(annulus, centre),
    }


def _contrast_exponent(curve: FloatArray, contrast: Sequence[float]) -> float:
    """Return the slope of log response over log contrast up to the strongest response."""
    last = int(curve.argmax()) + 1
    positive = curve[:last] > 0
    if positive.sum() < 2:
        return float(np.nan)
    x, y = np.log(np.array(contrast)[:last][positive]), np.log(curve[:last][positive])
    return float(np.polyfit(x, y, 1)[0])
