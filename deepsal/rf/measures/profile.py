"""Numbers about fields: how wide they are and how much they moved."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Field = NDArray[np.float32]
"""(U, 3, h, w) or, as luminance, (U, h, w); NaN for a unit without a field."""


def luminance_field(field: Field) -> Field:
    """Return the signed response to a change of all three colours alike, (U, h, w)."""
    return np.asarray(field.mean(1))


def smooth_field(field: Field, sigma: float) -> Field:
    """Return the field blurred by a Gaussian of `sigma` pixels over its last two axes."""
    if sigma <= 0:
        return field
    axes = (*[0.0] * (field.ndim - 2), sigma, sigma)
    return np.asarray(gaussian_filter(field, axes, mode="constant"))


def checkerboard_sigma(stride: int) -> float:
    """Return the blur, in pixels, that takes out a strided layer's checkerboard.

    Gradients of strided networks carry one of about the stride's period that says nothing about
    the stimulus; a quarter of the stride takes it out, and below a pixel there is none to take.

    >>> checkerboard_sigma(2), checkerboard_sigma(16)
    (0.0, 4.0)
    """
    return stride / 4 if stride >= 4 else 0.0


def field_extent(field: Field) -> NDArray[np.float64]:
    """Side, in pixels, of a square as large as the field's strong part, (U,).

    √#{|w| > (1 − 0.9545)·max|w|}, w the luminance field: the effective receptive field of Luo et
    al. 2016 with its threshold at two standard deviations.

    >>> spot = np.zeros((1, 3, 9, 9), np.float32)
    >>> spot[..., 3:6, 3:6] = 1
    >>> field_extent(spot).tolist()
    [3.0]
    """
    w = np.abs(luminance_field(field))
    strong = w > (1 - 0.9545) * w.max((-2, -1), keepdims=True)
    side = np.sqrt(strong.sum((-2, -1)))
    return np.where(np.isfinite(w).all((-2, -1)), side, np.nan)


def radial_profile(field: Field) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean luminance field over rings of one pixel around the middle of the array.

    P(k) = mean{w(y, x) : k ≤ √((y − (h−1)/2)² + (x − (w−1)/2)²) < k + 1}, for all rings that lie
    within the array; the radius of a ring is the mean distance of its pixels.

    Returns:
        radius (R,) in pixels and profile (U, R), NaN for units without a field.

    >>> ring = np.zeros((1, 3, 5, 5), np.float32)
    >>> ring[..., 1:4, 1:4] = 6
    >>> ring[..., 2, 2] = -2
    >>> radius, profile = radial_profile(ring)
    >>> radius.round(2).tolist(), profile.tolist()
    ([0.0, 1.21, 2.33], [[-2.0, 6.0, 0.0]])
    """
    w = luminance_field(field)
    rows, columns = (np.arange(n) - (n - 1) / 2 for n in w.shape[-2:])
    distance = np.hypot(rows[:, None], columns).ravel()
    rings = (min(w.shape[-2:]) - 1) // 2 + 1
    order = distance.argsort(kind="stable")[: int((distance < rings).sum())]
    starts = np.searchsorted(distance[order], np.arange(rings))
    inside = np.vstack([distance[order], np.take(w.reshape(len(w), -1), order, axis=1)])
    means = np.add.reduceat(inside, starts, axis=1) / np.diff(starts, append=len(order))
    return means[0], means[1:]


def field_correlation(field: Field, other: Field) -> NDArray[np.float64]:
    """Pearson correlation of each unit's field with its counterpart over pixels and colours, (U,).

    Blind to gain: a field that only grew still correlates with 1. NaN where a field is missing or
    constant.

    >>> before = np.arange(12, dtype=np.float32).reshape(1, 3, 2, 2)
    >>> field_correlation(before, 5 * before).round(6).tolist()
    [1.0]
    """
    a, b = (f.reshape(len(f), -1).astype(np.float64) for f in (field, other))
    a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((a * b).sum(1) / np.sqrt((a * a).sum(1) * (b * b).sum(1)))


def finite_median(values: NDArray[np.float64]) -> float:
    """Return the median over the units that have a value, NaN if none has."""
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else float("nan")
