"""Is a field a centre with a surround? Gaussian, DoG and Gabor, fitted and compared per unit."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepsal.rf.measures.centre import (
    Field,
    FloatArray,
    box_averaging_matrices,
    locate_centre,
    signed_luminance,
)
from deepsal.rf.measures.least_squares import (
    DOG,
    GABOR,
    GAUSSIAN,
    GRID_SIDE,
    CurveFit,
    fit_curve,
    gabor_starts,
    round_curve_starts,
)

FIELD_MODELS = "gaussian", "dog", "gabor"
PARAMETER_COUNTS = 5, 7, 8
WINDOW_IN_BLOBS = 20
MIN_AICC_GAIN, MIN_SURROUND_Z = 6, 2
MIN_VOLUME_RATIO, MAX_VOLUME_RATIO = 0.1, 1.5
UNITS_PER_CHUNK = 16


@dataclass(frozen=True)
class FieldFits:
    """The three fits of each unit, lengths in pixels of the field, rows of NaN where one failed.

    `aicc`, `r2`, `held_out` and `converged` have one column per name in `FIELD_MODELS`.
    """

    gaussian: FloatArray
    """(U, 5): A, y, x, σ, b of A exp(−ρ²/2σ²) + b."""
    dog: FloatArray
    """(U, 7): Ac, σc, As, σs, y, x, b of Ac exp(−ρ²/2σc²) − As exp(−ρ²/2σs²) + b; OFF: Ac < 0."""
    gabor: FloatArray
    """(U, 8): A, y, x, σu, σv, θ, f, φ of A exp(−u²/2σu² − v²/2σv²) cos(2πfu + φ), u along θ from
    the x towards the y axis, in radians, v across it; f in cycles per pixel."""
    aicc: FloatArray
    """(U, 3): n ln(SSE/N) + 2p + 2p(p+1)/(n−p−1), N samples, n effective ones; NaN if n ≤ p + 1."""
    r2: FloatArray
    """(U, 3): 1 − SSE / Σ(w − mean w)² over the window."""
    held_out: FloatArray
    """(U, 3): the same fit's R² on `other`; NaN without it."""
    k: FloatArray
    """(U,): volume ratio As σs² / (Ac σc²): 0 no surround, 1 balanced, < 0 a skirt. Gabors and
    noise read about .9 too: read it on units that are `is_centre_surround`."""
    surround_z: FloatArray
    """(U,): sign(k) over the standard error of log |k|, that is k over its own, by propagation of
    the covariance (JᵀJ)⁻¹ SSE / (n − 7), n effective."""
    effective: FloatArray
    """(U,): effective pixels n of the window."""
    converged: NDArray[np.bool_]
    """(U, 3)."""


def fit_field_models(field: Field, other: Field | None = None) -> FieldFits:
    """Fit Gaussian (5 parameters), DoG (7, σs ≥ 1.15 σc) and Gabor (8) to luminance fields.

    Each field is averaged down to at most 32 x 32 samples of a window of about 20 blob sizes about
    its `centre` (never finer than pixels), fitted by least squares, and the widths are freed
    of the averaging. Definitions: DoG after Rodieck 1965 (doi:10.1016/0042-6989(65)90033-7).

    *Effective pixels* n = N/a. N samples lie in the window; a = Σ ρ(lag)² is the correlation area
    of the residual of the best of the three fits, from its periodogram S as
    max(1, ½ · M · ΣS² / (ΣS)²) over the M frequencies (½, because a periodogram ordinate of noise
    is exponentially distributed: its mean square is twice its squared mean). n = N for white
    residuals. The same n serves the three models.

    Args:
        field: (U, 3, h, w) or (U, h, w); NaN for a unit without a field.
        other: a second, independent field of the same units (from the other half of the images),
            on which the fits of `field` are tested.

    Raises:
        ValueError: neither layout, or `other` of another shape.

    >>> square = (np.arange(41)[:, None] - 20.0) ** 2 + (np.arange(41) - 22.0) ** 2
    >>> w = 2 * np.exp(-square / 18) - 0.3 * np.exp(-square / 72)
    >>> found = fit_field_models(w[None])
    >>> found.dog.round(3).tolist(), found.k.round(3).tolist()
    ([[2.0, 3.0, 0.3, 6.0, 20.0, 22.0, 0.0]], [0.6])
    """
    if other is not None and other.shape != field.shape:
        raise ValueError(f"other must have the shape of field, {field.shape}, not {other.shape}")
    starts = range(0, max(len(field), 1), UNITS_PER_CHUNK)
    chunks = [
        [None if f is None else f[i : i + UNITS_PER_CHUNK] for i in starts] for f in (field, other)
    ]
    with ThreadPoolExecutor() as pool:
        parts = list(pool.map(_fit_chunk, *chunks))
    names = FieldFits.__dataclass_fields__
    return FieldFits(**{n: np.concatenate([getattr(part, n) for part in parts]) for n in names})


def is_centre_surround(fits: FieldFits) -> NDArray[np.bool_]:
    """Tell which units are centre-surround, (U,); a unit without a fit is not.

    All of: the three fits converged; the DoG's AICc is lower by at least 6 than the Gaussian's,
    the Gabor's and a constant's; .1 ≤ k ≤ 1.5; k is at least 2 standard errors (`surround_z`);
    and, if there is a held-out R², the DoG's is above zero, the Gaussian's and the Gabor's. The
    numbers were set on planted fields, for at most 5 % false alarms on each of Gaussian, Gabor,
    white and smooth noise. A missed surround is much likelier than a false one: read the rate of
    such units beside their noise. An elongated centre-surround field is a Gabor by this rule.

    >>> at = np.arange(41) - 20.0
    >>> square = at[:, None] ** 2 + at**2
    >>> centre, noise = np.exp(-square / 18), np.random.default_rng(0).normal(0, 0.02, (2, 41, 41))
    >>> fields = np.stack([centre, centre - 0.2 * np.exp(-square / 72)]) + noise
    >>> is_centre_surround(fit_field_models(fields)).tolist()
    [False, True]
    """
    n, (gaussian, dog, gabor) = fits.effective, fits.aicc.T
    with np.errstate(invalid="ignore", divide="ignore"):
        constant = (
            dog
            - n * np.log(1 - fits.r2[:, 1])
            + _aicc_penalty(n, 1)
            - _aicc_penalty(n, PARAMETER_COUNTS[1])
        )
    better = np.min([gaussian, gabor, constant], 0) - dog >= MIN_AICC_GAIN
    surround = (
        (fits.k >= MIN_VOLUME_RATIO)
        & (fits.k <= MAX_VOLUME_RATIO)
        & (fits.surround_z >= MIN_SURROUND_Z)
    )
    rivals = np.maximum(fits.held_out[:, [0, 2]].max(1), 0)
    tested = (fits.held_out[:, 1] > rivals) | np.isnan(fits.held_out).all(1)
    return np.asarray(better & surround & tested)


def _aicc_penalty(n: FloatArray, p: int) -> FloatArray:
    return np.asarray(2 * p + 2 * p * (p + 1) / np.where(n > p + 1, n - p - 1, np.nan))


def _fit_chunk(field: Field, other: Field | None) -> FieldFits:
    w = signed_luminance(field)
    place, size, _ = locate_centre(field)
    known = np.isfinite(size)
    place, size = np.where(known[:, None], place, 0), np.where(known, size, 1)
    reach = np.minimum(WINDOW_IN_BLOBS * size, max(w.shape[1:]))
    step = np.maximum(1, np.round(reach / GRID_SIDE))
    start = np.round(place - GRID_SIDE * step[:, None] / 2) - 0.5
    rows, columns = (
        box_averaging_matrices(start[:, i], step, GRID_SIDE, w.shape[1 + i]) for i in (0, 1)
    )
    full = [np.asarray(b.sum(2) > 0.999, np.float64) for b in (rows, columns)]
    mask = (full[0][:, :, None] * full[1][:, None]).reshape(len(w), GRID_SIDE**2)

    def sampled(maps: FloatArray) -> FloatArray:
        clean = np.where(np.isfinite(maps), maps, 0)
        return np.asarray(
            (rows @ clean @ columns.swapaxes(1, 2)).reshape(len(maps), GRID_SIDE**2) * mask
        )

    data = sampled(w)
    middle = start + GRID_SIDE * step[:, None] / 2
    offset, blob = (place - middle) / step[:, None], size / step
    found = [
        fit_curve(GAUSSIAN, round_curve_starts(offset, blob, [()]), data, mask),
        fit_curve(DOG, round_curve_starts(offset, blob, [(2.0,), (3.5,)]), data, mask),
        fit_curve(GABOR, gabor_starts(offset, blob, data), data, mask),
    ]
    sse, model = np.stack([f.sse for f in found], 1), np.stack([f.model for f in found], 1)
    left = data - model[np.arange(len(w)), sse.argmin(1)]
    pixels = mask.sum(1)
    n = pixels / _correlation_area(left)
    converged = np.stack([f.converged for f in found], 1) & known[:, None]
    held_out = np.full_like(sse, np.nan)
    if other is not None:
        second = signed_luminance(other)
        both = np.asarray(np.isfinite(second).all((1, 2)))
        test = np.where(both[:, None], sampled(second), np.nan)
        held_out = _r2(((test[:, None] - model) ** 2).sum(2), test, mask)
    with np.errstate(divide="ignore", invalid="ignore"):
        score = n[:, None] * np.log(sse / pixels[:, None])
        aicc = score + np.stack([_aicc_penalty(n, p) for p in PARAMETER_COUNTS], 1)
        tables = [
            _gaussian_in_pixels(found[0], step, middle),
            _dog_in_pixels(found[1], step, middle),
        ]
        tables += [_gabor_in_pixels(found[2], step, middle), aicc, _r2(sse, data, mask), held_out]
        dog = tables[1]
        k = dog[:, 2] * dog[:, 3] ** 2 / (dog[:, 0] * dog[:, 1] ** 2)
        z = np.sign(k) / np.sqrt(_log_k_variance(found[1]) * sse[:, 1] / np.maximum(n - 7, 0))
    for column, table in enumerate(tables[:3]):
        table[~converged[:, column]] = np.nan
    for table in tables[3:]:
        table[~converged] = np.nan
    k, z = (np.where(converged[:, 1], value, np.nan) for value in (k, z))
    gaussian, dog, gabor, aicc, r2, held_out = tables
    n = np.where(known, n, np.nan)
    return FieldFits(gaussian, dog, gabor, aicc, r2, held_out, k, z, n, converged)


def _r2(sse: FloatArray, data: FloatArray, mask: FloatArray) -> FloatArray:
    mean = data.sum(1, keepdims=True) / mask.sum(1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(1 - sse / (mask * (data - mean) ** 2).sum(1, keepdims=True))


def _log_k_variance(dog: CurveFit) -> FloatArray:
    slope = np.zeros(dog.inverse.shape[:2])
    slope[:, 0], slope[:, 1], slope[:, 6] = -1 / dog.linear[:, 0], 1 / dog.linear[:, 1], 2
    return np.asarray(np.einsum("ui,uij,uj->u", slope, dog.inverse, slope))


def _correlation_area(left: FloatArray) -> FloatArray:
    power = np.abs(np.fft.fft2(left.reshape(-1, GRID_SIDE, GRID_SIDE))) ** 2
    total = power.sum((1, 2)) ** 2
    spread = GRID_SIDE**2 * (power**2).sum((1, 2)) / np.where(total > 0, total, np.inf)
    return np.asarray(np.maximum(1, spread / 2))


def _remove_box_blur(log_sigma: FloatArray, step: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Width in pixels without the boxes' own variance, and how much that narrows it (< 1)."""
    seen = np.exp(log_sigma) * step
    sigma = np.sqrt(seen**2 - (step**2 - 1) / 12)
    return sigma, sigma / seen


def _gaussian_in_pixels(found: CurveFit, step: FloatArray, middle: FloatArray) -> FloatArray:
    sigma, narrower = _remove_box_blur(found.theta[:, 2], step)
    place = middle + found.theta[:, :2] * step[:, None]
    a, b = found.linear.T
    return np.column_stack([a / narrower**2, place, sigma, b])


def _dog_in_pixels(found: CurveFit, step: FloatArray, middle: FloatArray) -> FloatArray:
    log_sigma, log_ratio = found.theta.T[2:]
    inner, narrower = _remove_box_blur(log_sigma, step)
    outer, narrower_s = _remove_box_blur(log_sigma + log_ratio, step)
    a, s, b = found.linear.T
    place = middle + found.theta[:, :2] * step[:, None]
    return np.column_stack([a / narrower**2, inner, -s / narrower_s**2, outer, place, b])


def _gabor_in_pixels(found: CurveFit, step: FloatArray, middle: FloatArray) -> FloatArray:
    along, narrower = _remove_box_blur(found.theta[:, 2], step)
    across, thinner = _remove_box_blur(found.theta[:, 3], step)
    angle, f = found.theta[:, 4], np.exp(found.theta[:, 5]) / step / narrower**2
    even, odd = found.linear.T
    turns = np.floor(angle / np.pi)
    phase = np.arctan2(-odd, even) * np.where(turns % 2 == 0, 1, -1)
    lost = np.exp(-2 * (np.pi * f * narrower) ** 2 * (step**2 - 1) / 12)
    a = np.hypot(even, odd) / (narrower * thinner * lost)
    place = middle + found.theta[:, :2] * step[:, None]
    return np.column_stack([a, place, along, across, angle - turns * np.pi, f, phase])
