"""Luminance, blur, width and radial profile of fields.

Shapes: U units, h × w pixels, 3 colours.
"""

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

FloatArray = NDArray[np.float64]
Field = NDArray[np.float32]
"""(U, 3, h, w) or, as luminance, (U, h, w); NaN for a unit without a field."""
Precision = TypeVar("Precision", bound=np.floating[Any])


def luminance_field(field: NDArray[Precision]) -> NDArray[Precision]:
    """Return the signed response to a change of all three colours alike, (U, h, w).

    Args:
        field: (U, 3, h, w), averaged over the colours in float32; or (U, h, w), returned as it is.

    Raises:
        ValueError: `field` has another shape.

    >>> luminance_field(np.float32([3, 0, 0]).reshape(1, 3, 1, 1)).tolist()
    [[[1.0]]]
    """
    if field.ndim == 4 and field.shape[1] == 3:
        mean = field.astype(np.float32, copy=False).mean(1)
        return np.asarray(mean, field.dtype)
    if field.ndim != 3:
        raise ValueError(f"field must be (U, 3, h, w) or (U, h, w), not {field.shape}")
    return field


def smooth_field(field: NDArray[Precision], sigma: float) -> NDArray[Precision]:
    """Blur a field by a Gaussian of `sigma` pixels over its last two axes."""
    if sigma <= 0:
        return field
    axes = (*[0.0] * (field.ndim - 2), sigma, sigma)
    return np.asarray(gaussian_filter(field, axes, mode="constant"))


def checkerboard_sigma(stride: int) -> float:
    """Return the blur, in pixels, that removes the checkerboard of a strided layer.

    Gradients of strided networks carry a checkerboard of about the period of the stride. It is no
    property of the stimulus. A blur of a quarter of the stride removes it; strides below 4 need
    none.

    >>> checkerboard_sigma(2), checkerboard_sigma(16)
    (0.0, 4.0)
    """
    return stride / 4 if stride >= 4 else 0.0


def field_extent(field: Field) -> FloatArray:
    """Return the side, in pixels, of a square as large as the strong part of each field, (U,).

    √#{|w| > (1 − 0.9545)·max|w|}, w the luminance field: the effective receptive field of Luo et
    al. 2016 (arXiv 1701.04128), with its threshold at two standard deviations. NaN for a unit
    without a field.

    >>> spot = np.zeros((1, 3, 9, 9), np.float32)
    >>> spot[..., 3:6, 3:6] = 1
    >>> field_extent(spot).tolist()
    [3.0]
    """
    w = np.abs(luminance_field(field))
    strong = w > (1 - 0.9545) * w.max((-2, -1), keepdims=True)
    side = np.sqrt(strong.sum((-2, -1)))
    return np.where(np.isfinite(w).all((-2, -1)), side, np.nan)


def radial_profile(field: Field) -> tuple[FloatArray, FloatArray]:
    """Average each luminance field over rings of one pixel about the middle of the array.

    P(k) = mean{w(y, x) : k ≤ √((y − (h−1)/2)² + (x − (w−1)/2)²) < k + 1}, for all rings that lie
    within the array. The radius of a ring is the mean distance of its pixels.

    Returns:
        Radius (R,) in pixels and profile (U, R), NaN for units without a field.

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
