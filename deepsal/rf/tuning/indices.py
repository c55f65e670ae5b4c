"""Tuning indices of units from their responses to simple stimuli, minus the response to grey.

A negative response is inhibition. The index of a unit that nothing excites is NaN, never 0.

Shapes: U units, R radii, O orientations.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepsal.rf.measures.profile import FloatArray

ResponseArray = NDArray[np.floating[Any]]


def size_tuning_curve(disks: ResponseArray) -> ResponseArray:
    """Return each unit's size tuning (U, R): the sign of (U, 2, R) with the higher peak."""
    return np.asarray(disks[np.arange(len(disks)), disks.max(2).argmax(1)])


def surround_suppression_index(disks: ResponseArray) -> FloatArray:
    """Return the surround suppression index of responses (U, 2, R) to bright and dark disks, (U,).

    SSI = (peak − plateau)/peak for the sign with the higher peak: peak = max R over radii, plateau
    = R at the largest radius; Cavanaugh, Bair & Movshon 2002, J Neurophysiol 88:2530,
    doi:10.1152/jn.00692.2001. 0: no suppression; 1: a large disk leaves the unit at rest; above 1:
    it inhibits the unit, which a firing rate cannot show. NaN where nothing excites the unit
    (peak ≤ 0).

    >>> responses = [[[1.0, 4.0, 1.0], [-1.0, -4.0, -1.0]], [[0.0, -2.0, 0.0], [0.0] * 3]]
    >>> surround_suppression_index(np.array(responses))
    array([0.75,  nan])
    """
    curve = size_tuning_curve(disks)
    return positive_ratio(curve.max(1) - curve[:, -1], curve.max(1))


def preferred_value(curve: ResponseArray, axis: FloatArray) -> FloatArray:
    """Return the value on an axis (S,) at which each curve (U, S) peaks, (U,); NaN if it is ≤ 0.

    >>> preferred_value(np.array([[1.0, 3.0, 2.0], [-1.0, -1.0, 0.0]]), np.array([1.0, 2.0, 4.0]))
    array([ 2., nan])
    """
    return np.where(curve.max(1) > 0, axis[curve.argmax(1)], np.nan)


def on_off_index(responses: ResponseArray) -> FloatArray:
    """Return (ON − OFF)/(ON + OFF) of responses (U, 2, …) to bright and dark stimuli, (U,).

    ON and OFF are the strongest excitation, max(R, 0), by a bright and by a dark stimulus. 1 if
    only bright stimuli excite the unit, −1 if only dark stimuli do, NaN if none does.

    >>> on_off_index(np.array([[[1.0, 3.0], [-1.0, 1.0]], [[0.0, -1.0], [-2.0, 0.0]]])).tolist()
    [0.5, nan]
    """
    on, off = np.maximum(responses.reshape(len(responses), 2, -1).max(2), 0).T
    return positive_ratio(on - off, on + off)


def orientation_selectivity(
    curve: ResponseArray, orientation: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return orientation selectivity and preferred orientation of responses (U, O) ≥ 0, (U,) each.

    OSI = 1 − circular variance = |Σ R exp(2iθ)| / Σ R, and half the angle of that sum, in degrees,
    0 … 180; θ = `orientation`, degrees, evenly over 180. Ringach, Shapley & Hawken 2002, J
    Neurosci 22:5639, doi:10.1523/JNEUROSCI.22-13-05639.2002. 0: all responses equal; 1: a response
    to one orientation only; NaN where nothing excites the unit.

    >>> angles = np.arange(0.0, 180.0, 45.0)
    >>> osi, best = orientation_selectivity(np.array([[0.0, 3.0, 1.0, 1.0]]), angles)
    >>> osi.round(3).tolist(), best.round(1).tolist()
    ([0.447], [58.3])
    """
    total = curve.sum(1)
    vector = (curve * np.exp(2j * np.deg2rad(orientation))).sum(1)
    osi = positive_ratio(np.abs(vector), total)
    return osi, np.where(np.isfinite(osi), np.rad2deg(np.angle(vector)) / 2 % 180, np.nan)


def positive_ratio(part: ResponseArray, whole: ResponseArray) -> FloatArray:
    """Divide where the whole is positive; NaN elsewhere."""
    positive = whole > 0
    return np.asarray(np.where(positive, part / np.where(positive, whole, 1), np.nan), np.float64)
