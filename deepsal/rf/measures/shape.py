"""Is a field centre-surround, oriented, or noise? One number per unit, without a fit."""

from collections.abc import Callable
from math import prod
from typing import NamedTuple

import numpy as np

from deepsal.rf.measures.centre import Field, FloatArray, locate_centre, signed_luminance

RADIUS_STEP = 0.05


def _measure_each(field: Field, measure: Callable[[FloatArray], float]) -> FloatArray:
    found = [
        measure(w) if np.isfinite(w).all() and w.any() else np.nan for w in signed_luminance(field)
    ]
    return np.array(found, np.float64)


class _Rings(NamedTuple):
    pixels: FloatArray
    distance: FloatArray
    radius: FloatArray
    mean: FloatArray


def _measure_rings(field: Field, measure: Callable[[_Rings, float], float]) -> FloatArray:
    """Apply a measure to each unit's rings of one pixel about its centre, and its polarity."""
    values = np.full(len(field), np.nan)
    places, _, signs = locate_centre(field)
    for unit in np.flatnonzero(np.isfinite(signs)):
        w, (y, x) = signed_luminance(field[unit : unit + 1])[0], places[unit]
        distance = np.hypot(np.arange(w.shape[0])[:, None] - y, np.arange(w.shape[1]) - x).ravel()
        ring = distance.astype(np.int64)
        count = np.bincount(ring)
        full = np.flatnonzero(count)
        radius, mean = (
            np.bincount(ring, values)[full] / count[full] for values in (distance, w.ravel())
        )
        rings = _Rings(w.ravel(), distance, radius, mean)
        values[unit] = measure(rings, signs[unit])
    return values


def spatial_opponency(field: Field) -> FloatArray:
    """How far excitation and inhibition cancel: O = 1 − |Σw| / Σ|w|, (U,).

    0 if the field has one sign, 1 if it is balanced; noise and Gabors are balanced too (see `csi`).

    >>> spatial_opponency(np.array([[[3.0, -1.0]]])).tolist()
    [0.5]
    """
    return _measure_each(field, lambda w: float(1 - abs(w.sum()) / np.abs(w).sum()))


def radial_r2(field: Field) -> FloatArray:
    """How much of a field its rings explain: R² = 1 − Σ(w − P(ρ))² / Σ(w − mean w)², (U,).

    P is the mean over rings of one pixel about the field's `centre`, linear between rings. A disc
    gives 1, an oriented field and noise little. NaN for a constant field.

    >>> at = np.arange(31) - 15.0
    >>> bar = np.exp(-(at[:, None] ** 2) / 8) * np.exp(-(at**2) / 200)
    >>> blob = np.exp(-(at[:, None] ** 2 + at**2) / 20)
    >>> radial_r2(np.stack([bar, blob])).round(2).tolist()
    [0.49, 1.0]
    """

    def one(rings: _Rings, _: float) -> float:
        left = rings.pixels - np.interp(rings.distance, rings.radius, rings.mean)
        return float(1 - (left**2).mean() / rings.pixels.var())

    return _measure_rings(field, one)


def centre_surround_index(field: Field) -> FloatArray:
    """Centre-surround index: opponency × the share that is radial, O · max(R²rad, 0), (U,).

    High only if a field is round *and* has both signs. This index is deepsal's own.

    >>> at = np.arange(61) - 30.0
    >>> square = at[:, None] ** 2 + at**2
    >>> narrow, wide = np.exp(-square / 18), np.exp(-square / 72) / 4
    >>> centre_surround_index(np.stack([narrow, narrow - 0.9 * wide])).round(2).tolist()
    [0.0, 0.89]
    """
    return spatial_opponency(field) * np.maximum(radial_r2(field), 0)


def surround_index(field: Field) -> FloatArray:
    """Volume of the surround over that of the centre, on the radial mean P with a positive centre.

    −∫_{ρ0}^∞ min(P, 0) ρ dρ / ∫_0^{ρ0} max(P, 0) ρ dρ, ρ0 the first zero crossing, (U,), P linear
    between rings; the part of a ring that lies in the array stands for the whole. 0 if P never
    crosses. It adds up the noise of the outer rings: compare it with controls; rings of a pixel
    blur a centre of σ = 2 px, and it reads a tenth low. NaN if the middle has not its blob's
    polarity.

    >>> at = np.arange(61) - 30
    >>> square = at[:, None] ** 2 + at**2
    >>> w = np.exp(-square / 72) * (1 - square / 72)  # a balanced Mexican hat
    >>> surround_index(w[None]).round(2).tolist()
    [0.98]
    """

    def one(rings: _Rings, sign: float) -> float:
        rho = np.arange(0, rings.radius[-1], RADIUS_STEP)
        volume = sign * np.interp(rho, rings.radius, rings.mean) * (rho + RADIUS_STEP / 2)
        zero = int(np.argmax(volume <= 0)) if (volume <= 0).any() else len(volume)
        around = -np.minimum(volume[zero:], 0).sum()
        return float(around / volume[:zero].sum()) if zero else np.nan

    return _measure_rings(field, one)


def centre_polarity(field: Field) -> FloatArray:
    """Sign of the centre, (U,): +1 an ON unit, −1 an OFF unit; see `centre`."""
    return locate_centre(field)[2]


def anisotropy(field: Field) -> FloatArray:
    """How elongated a field is: (λ1 − λ2) / (λ1 + λ2) of the second moments of |w|, (U,).

    Moments about the centroid of |w|; 0 round, 1 a line. Noise fills the array and pulls it to
    the array's own shape.

    >>> anisotropy(np.array([[[0.0, 1, 1]], [[1, 0, 0]]])).tolist()
    [1.0, nan]
    """

    def one(w: FloatArray) -> float:
        at = np.indices(w.shape).reshape(2, -1)
        moments = np.atleast_2d(np.cov(at, aweights=np.abs(w).ravel(), ddof=0))
        small, large = np.linalg.eigvalsh(moments)
        return float((large - small) / (large + small)) if large > 0 else np.nan

    return _measure_each(field, one)


def unit_redundancy(field: Field) -> float:
    """Mean Pearson correlation over pixels (and colours) of all pairs of units that have a field.

    1 if all units are one field up to gain, 0 if unrelated; ON and OFF copies cancel. NaN for
    fewer than two fields.

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


def colour_opponency(field: Field) -> FloatArray:
    """How far the three colours cancel pixel by pixel: 1 − Σ|Σ_c w_c| / ΣΣ_c|w_c|, (U,).

    0 if the colours agree in sign everywhere (grey, or one colour alone), 1 for red against green.
    Independent noise in the colours gives 1 − 1/√3 = .42.

    Raises:
        ValueError: the field has no colours.

    >>> colour_opponency(np.array([1.0, -1, 0]).reshape(1, 3, 1, 1)).tolist()
    [1.0]
    """
    if field.ndim != 4 or field.shape[1] != 3:
        raise ValueError(f"field must be (U, 3, h, w) to have colours, not {field.shape}")
    w = field.astype(np.float64)
    with np.errstate(invalid="ignore"):
        return np.asarray(1 - np.abs(w.sum(1)).sum((1, 2)) / np.abs(w).sum((1, 2, 3)))
