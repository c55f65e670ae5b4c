"""Tuning indices of units: size, sign, orientation, spatial frequency and colour.

Responses are `BatteryResponses`: before the rectifier and minus the response to grey, so that a
negative response is inhibition. The index of a unit that nothing excites is NaN, never 0.

Shapes: U units, R radii, F frequencies, O orientations, P phases.
"""

import numpy as np

from deepsal.rf.measures.profile import FloatArray
from deepsal.rf.tuning.battery import BatteryResponses
from deepsal.rf.tuning.recording import ResponseArray


def tuning_indices(responses: BatteryResponses) -> dict[str, FloatArray]:
    """Summarise each unit by the indices of this module.

    Args:
        responses: responses of one layer.

    Returns:
        `{index: (U,)}`. ssi: `surround_suppression_index` · radius: of the preferred disk, pixels ·
        sign: `on_off_index` of disks · osi and orientation (degrees): `orientation_selectivity` at
        the best frequency · frequency: the preferred one, cycles per pixel · colour:
        `colour_opponency_index`. `deepsal.statistics.bootstrap_interval` returns an interval over
        units and the number of units with a value.
    """
    b = responses.battery
    gratings = grating_amplitude(responses.gratings, b.phase)
    best = gratings.max(2).argmax(1)
    osi, orientation = orientation_selectivity(gratings[np.arange(len(best)), best], b.orientation)
    return {
        "ssi": surround_suppression_index(responses.disks),
        "radius": preferred_value(size_tuning_curve(responses.disks), b.radius),
        "sign": on_off_index(responses.disks),
        "osi": osi,
        "orientation": orientation,
        "frequency": preferred_value(gratings.max(2), b.frequency),
        "colour": colour_opponency_index(responses.colours),
    }


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


def grating_amplitude(gratings: ResponseArray, phase: FloatArray) -> FloatArray:
    """Return the response amplitude to each grating over its phases, (U, F, O) of (U, F, O, P).

    F0 = max(mean R, 0) or F1 = |2/P Σ R exp(−iφ)|, φ = `phase` in degrees, evenly over 360. The one
    with the larger maximum is taken for each unit, as for complex and simple cells (Skottun et al.
    1991, Vision Res 31:1079, doi:10.1016/0042-6989(91)90033-2).

    >>> phase = np.array([0.0, 90.0, 180.0, 270.0])
    >>> simple, complex_ = np.cos(np.deg2rad(phase - 30)), np.array([2.0, 2.5, 2.0, 1.5])
    >>> grating_amplitude(np.array([[[simple]], [[complex_]]]), phase).round(6).ravel().tolist()
    [1.0, 2.0]
    """
    mean = np.maximum(gratings.mean(-1), 0)
    modulated = np.abs((gratings * np.exp(-1j * np.deg2rad(phase))).mean(-1)) * 2
    simple = modulated.max((1, 2)) >= mean.max((1, 2))
    return np.asarray(np.where(simple[:, None, None], modulated, mean), np.float64)


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


def colour_opponency_index(colours: ResponseArray) -> FloatArray:
    """Return (C − L)/(C + L) of responses (U, 3, …) along `stimuli.COLOUR_AXES`, (U,).

    L and C are the strongest excitation, max(R, 0), along luminance and along red-green or
    blue-yellow. −1 for a unit that ignores colour, 1 for one that responds to colour only, 0 for
    one that reads a single primary; after the sensitivity ratio C/L of Johnson, Hawken & Shapley
    2001, Nat Neurosci 4:409, doi:10.1038/86061. NaN where nothing excites the unit.

    >>> axes = np.array([[[4.0], [1.0], [0.0]], [[1.0], [0.5], [3.0]]])
    >>> colour_opponency_index(axes).tolist()
    [-0.6, 0.5]
    """
    best = np.maximum(colours.reshape(len(colours), 3, -1).max(2), 0)
    grey, colour = best[:, 0], best[:, 1:].max(1)
    return positive_ratio(colour - grey, colour + grey)


def positive_ratio(part: ResponseArray, whole: ResponseArray) -> FloatArray:
    """Divide where the whole is positive; NaN elsewhere."""
    positive = whole > 0
    return np.asarray(np.where(positive, part / np.where(positive, whole, 1), np.nan), np.float64)
