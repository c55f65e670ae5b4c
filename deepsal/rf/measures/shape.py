"""Shape of a field without a fit: opponency, roundness, surround, elongation, redundancy.

Shapes: U units; fields are (U, 3, h, w) or (U, h, w), NaN for a unit without a field. Measures of
such a unit, and of a field of zeros, are NaN. Any other shape raises a ValueError.
"""

from collections.abc import Iterator
from math import prod
from typing import NamedTuple

import numpy as np

from deepsal.rf.measures.centre import locate_centre
from deepsal.rf.measures.profile import Field, FloatArray, luminance_field

RADIUS_STEP = 0.05


class _Rings(NamedTuple):
    """The rings of one pixel about the centre of one unit's field, and that field's polarity."""

    unit: int
    sign: float
    pixels: FloatArray
    distance: FloatArray
    radius: FloatArray
    mean: FloatArray


def _rings_about_centres(field: Field | FloatArray) -> Iterator[_Rings]:
    centres, _, signs = locate_centre(field)
    fields = luminance_field(field).astype(np.float64)
    for unit in np.flatnonzero(np.isfinite(signs)):
        w, (y, x) = fields[unit], centres[unit]
        distance = np.hypot(np.arange(w.shape[0])[:, None] - y, np.arange(w.shape[1]) - x).ravel()
        ring = distance.astype(np.int64)
        count = np.bincount(ring)
        full = np.flatnonzero(count)
        radius, mean = (
            np.bincount(ring, values)[full] / count[full] for values in (distance, w.ravel())
        )
        yield _Rings(int(unit), signs[unit], w.ravel(), distance, radius, mean)


def spatial_opponency(field: Field | FloatArray) -> FloatArray:
    """Return how far excitation and inhibition cancel, O = 1 − |Σw| / Σ|w|, (U,).

    0 for a field of one sign, 1 for a balanced field. Noise and Gabors are balanced too; see
    `centre_surround_index`.

    >>> spatial_opponency(np.array([[[3.0, -1.0]]])).tolist()
    [0.5]
    """
    w = luminance_field(field).astype(np.float64)
    net, total = np.abs(w.sum((1, 2))), np.abs(w).sum((1, 2))
    with np.errstate(invalid="ignore"):
        return np.asarray(1 - net / np.where(total > 0, total, np.nan))


def radial_r2(field: Field | FloatArray) -> FloatArray:
    """Return the part of each field that its rings explain, (U,).

    R² = 1 − Σ(w − P(ρ))² / Σ(w − mean w)². P is the mean over rings of one pixel about the field's
    centre (`locate_centre`), linear between rings. A disc gives 1, an oriented field and noise
    little. NaN for a constant field.

    >>> at = np.arange(31) - 15.0
    >>> bar = np.exp(-(at[:, None] ** 2) / 8) * np.exp(-(at**2) / 200)
    >>> blob = np.exp(-(at[:, None] ** 2 + at**2) / 20)
    >>> radial_r2(np.stack([bar, blob])).round(2).tolist()
    [0.49, 1.0]
    """
    r2 = np.full(len(field), np.nan)
    for rings in _rings_about_centres(field):
        left = rings.pixels - np.interp(rings.distance, rings.radius, rings.mean)
        r2[rings.unit] = 1 - (left**2).mean() / rings.pixels.var()
    return r2


def centre_surround_index(field: Field | FloatArray) -> FloatArray:
    """Return the centre-surround index O · max(R²rad, 0), (U,): opponency × the radial part.

    High only if a field is round *and* has both signs. This index is deepsal's own.

    >>> at = np.arange(61) - 30.0
    >>> square = at[:, None] ** 2 + at**2
    >>> narrow, wide = np.exp(-square / 18), np.exp(-square / 72) / 4
    >>> centre_surround_index(np.stack([narrow, narrow - 0.9 * wide])).round(2).tolist()
    [0.0, 0.89]
    """
    return spatial_opponency(field) * np.maximum(radial_r2(field), 0)


def surround_index(field: Field | FloatArray) -> FloatArray:
    """Return the volume of the surround over that of the centre, (U,), from the radial mean P.

    −∫_{ρ0}^∞ min(P, 0) ρ dρ / ∫_0^{ρ0} max(P, 0) ρ dρ, P signed so that the centre is positive and
    linear between rings, ρ0 its first zero crossing. The part of a ring that lies in the array
    stands for the whole ring. 0 if P never crosses zero. NaN if the middle has not the polarity of
    its blob.

    The index adds up the noise of the outer rings: compare it with controls. Rings of a pixel blur
    a centre of σ = 2 px, and the index is then a tenth too low.

    >>> at = np.arange(61) - 30
    >>> square = at[:, None] ** 2 + at**2
    >>> w = np.exp(-square / 72) * (1 - square / 72)  # a balanced Mexican hat
    >>> surround_index(w[None]).round(2).tolist()
    [0.98]
    """
    index = np.full(len(field), np.nan)
    for rings in _rings_about_centres(field):
        rho = np.arange(0, rings.radius[-1], RADIUS_STEP)
        mean = np.interp(rho, rings.radius, rings.mean)
        volume = rings.sign * mean * (rho + RADIUS_STEP / 2)
        zero = int(np.argmax(volume <= 0)) if (volume <= 0).any() else len(volume)
        if zero:
            index[rings.unit] = -np.minimum(volume[zero:], 0).sum() / volume[:zero].sum()
    return index


def anisotropy(field: Field | FloatArray) -> FloatArray:
    """Return the elongation of each field, (λ1 − λ2) / (λ1 + λ2) of second moments of |w|, (U,).

    The moments are about the centroid of |w|. 0 is round, 1 a line. Noise fills the array and
    pulls the value to that of the array's own shape.

    >>> anisotropy(np.array([[[0.0, 1, 1]], [[1, 0, 0]]])).tolist()
    [1.0, nan]
    """
    values = np.full(len(field), np.nan)
    for unit, w in enumerate(luminance_field(field).astype(np.float64)):
        if np.isfinite(w).all() and w.any():
            at = np.indices(w.shape).reshape(2, -1)
            moments = np.atleast_2d(np.cov(at, aweights=np.abs(w).ravel(), ddof=0))
            small, large = np.linalg.eigvalsh(moments)
            values[unit] = (large - small) / (large + small) if large > 0 else np.nan
    return values


def unit_redundancy(field: Field | FloatArray) -> float:
    """Return the mean Pearson correlation of the fields of all pairs of units.

    The correlation is over pixels (and colours); units without a field are left out. 1 if all
    units have one field up to gain, 0 if unrelated; ON and OFF copies cancel. NaN for fewer than
    two fields.

    >>> w = np.array([[[1.0, 2, 4]], [[2, 4, 8]], [[-1, -2, -4]]])
    >>> round(unit_redundancy(w[:2]), 6), round(unit_redundancy(w), 6)
    (1.0, -0.333333)
    """
    w = field.reshape(len(field), prod(field.shape[1:]))
    w = w[np.isfinite(w).all(1)]
    w = w - w.mean(1, keepdims=True)
    norm = np.linalg.norm(w, axis=1)
    w = w[norm > 0] / norm[norm > 0, None]
    pairs = len(w) * (len(w) - 1)
    return float(((w.sum(0) ** 2).sum() - len(w)) / pairs) if pairs else float("nan")
