"""Size tuning of units at their own best grating: suppression, summation field and surround.

The protocol is that of Cavanaugh, Bair & Movshon 2002, J Neurophysiol 88:2530,
doi:10.1152/jn.00692.2001, as Marques, Schrimpf & DiCarlo 2021, bioRxiv 2021.03.01.433495, apply it
to networks.

Shapes: U units, R radii, F frequencies, O orientations, P phases.
"""

import numpy as np
from numpy.typing import NDArray

from deepsal.rf.measures.profile import FloatArray
from deepsal.rf.tuning.indices import ResponseArray, positive_ratio

SUMMATION_LEVEL = 0.95
"""Share of the peak that the response at the summation field has at least."""
SURROUND_TOLERANCE = 0.05
"""Share of the plateau by which the response at the surround's border exceeds it at most."""
SUPPRESSED = 0.1
"""SSI above which a unit has a summation field and a surround, and is strongly suppressed."""


def phase_response(
    responses: ResponseArray, blank: ResponseArray, phase: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return the mean over phases minus the response to grey, and twice the first harmonic.

    DC = mean R − blank and F1 = |2/P Σ R exp(−iφ)|, φ evenly over 360 degrees.

    Args:
        responses: (U, …, P).
        blank: (U,), the response to grey.
        phase: (P,), degrees.

    Returns:
        DC and F1, (U, …) each.

    >>> phase = np.array([0.0, 90.0, 180.0, 270.0])
    >>> dc, f1 = phase_response(np.array([[4.0, 2.0, 0.0, 2.0]]), np.array([0.5]), phase)
    >>> dc.tolist(), f1.round(6).tolist()
    ([1.5], [2.0])
    """
    change = responses - blank.reshape(-1, *[1] * (responses.ndim - 1)).astype(np.float64)
    wave = np.exp(-1j * np.deg2rad(phase))
    return change.mean(-1), 2 * np.abs(change @ wave) / len(phase)


def larger_component(dc: FloatArray, f1: FloatArray) -> FloatArray:
    """Return DC or F1 (U, …), whichever has the larger maximum, for each unit."""
    simple = f1.reshape(len(f1), -1).max(1) >= dc.reshape(len(dc), -1).max(1)
    return np.where(simple.reshape(-1, *[1] * (dc.ndim - 1)), f1, dc)


def best_grating(amplitude: FloatArray) -> NDArray[np.int64]:
    """Return the indices of each unit's best radius, frequency and orientation, (U, 3).

    Args:
        amplitude: (U, R, F, O).
    """
    flat = amplitude.reshape(len(amplitude), -1).argmax(1)
    return np.column_stack(np.unravel_index(flat, amplitude.shape[1:]))


def suppression_index(curve: FloatArray) -> FloatArray:
    """Return the surround suppression index SSI of size tuning curves (U, R), (U,).

    SSI = (peak − plateau)/peak, plateau = the response at the largest radius. NaN where nothing
    excites the unit.

    >>> suppression_index(np.array([[1.0, 4.0, 1.0], [1.0, 2.0, 2.0], [0.0, 0.0, 0.0]])).tolist()
    [0.75, 0.0, nan]
    """
    return positive_ratio(curve.max(1) - curve[:, -1], curve.max(1))


def summation_field(curve: FloatArray, radius: FloatArray) -> FloatArray:
    """Return the diameter of the grating summation field, (U,), in the unit of `radius`.

    2 × the smallest radius with 95 % of the peak or more; NaN where SSI ≤ .1.

    >>> summation_field(np.array([[1.0, 3.9, 4.0, 1.0]]), np.array([1.0, 2.0, 4.0, 8.0])).tolist()
    [4.0]
    """
    enough = (curve >= SUMMATION_LEVEL * curve.max(1, keepdims=True)).argmax(1)
    return np.where(suppression_index(curve) > SUPPRESSED, 2 * radius[enough], np.nan)


def surround_diameter(curve: FloatArray, radius: FloatArray) -> FloatArray:
    """Return the diameter of the surround, (U,), in the unit of `radius`.

    2 × the first radius beyond the preferred one with R ≤ plateau + .05·|plateau|; NaN where
    SSI ≤ .1.

    >>> curve, radius = np.array([[1.0, 4.0, 2.0, 1.0, 1.0]]), np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    >>> surround_diameter(curve, radius).tolist()
    [16.0]
    """
    plateau = curve[:, -1:]
    beyond = np.arange(len(radius)) > curve.argmax(1)[:, None]
    border = (beyond & (curve <= plateau + SURROUND_TOLERANCE * np.abs(plateau))).argmax(1)
    return np.where(suppression_index(curve) > SUPPRESSED, 2 * radius[border], np.nan)


def half_height_width(
    curve: FloatArray, axis: FloatArray, period: float | None = None
) -> FloatArray:
    """Return the full width of tuning curves (U, S) at half their peak, (U,), on an axis (S,).

    Curves are interpolated linearly. NaN where a curve is ≤ 0 or does not fall to half its peak on
    both sides within the axis.

    Args:
        curve: responses.
        axis: increasing values.
        period: of a circular axis, as 180 degrees of orientations.

    >>> half_height_width(np.array([[0.0, 2.0, 0.0], [2.0, 1.5, 1.0]]), np.arange(3.0)).tolist()
    [1.0, nan]
    """
    peak = curve.argmax(1)
    if period is not None:
        peak += len(axis)
        axis = np.concatenate([axis - period, axis, axis + period])
        curve = np.concatenate([curve] * 3, 1)
    return np.array([_width(row, axis, at) for row, at in zip(curve, peak.tolist(), strict=True)])


def _width(curve: FloatArray, axis: FloatArray, peak: int) -> float:
    half, ends = curve[peak] / 2, []
    for way in (-1, 1):
        low = peak
        while 0 <= low < len(curve) and curve[low] > half:
            low += way
        if half <= 0 or not 0 <= low < len(curve):
            return np.nan
        share = (curve[low - way] - half) / (curve[low - way] - curve[low])
        ends.append(axis[low - way] + share * (axis[low] - axis[low - way]))
    return float(ends[1] - ends[0])
