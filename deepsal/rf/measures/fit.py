"""Gaussian, difference of Gaussians (DoG) and Gabor fitted to fields, and compared per unit.

Shapes: U units, h × w pixels.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepsal.rf.measures.centre import box_averaging_matrices, locate_centre
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
from deepsal.rf.measures.profile import Field, FloatArray, luminance_field

FIELD_MODELS = "gaussian", "dog", "gabor"
PARAMETER_COUNTS = 5, 7, 8
WINDOW_IN_BLOBS = 20
MIN_AICC_GAIN, MIN_SURROUND_Z = 6, 2
MIN_VOLUME_RATIO, MAX_VOLUME_RATIO = 0.1, 1.5
LARGEST_VOLUME_RATIO = 10
"""Larger |k| are no ratios of a surround to a centre: the centre of such a fit is a residual."""
UNITS_PER_CHUNK = 16


@dataclass(frozen=True)
class FieldFits:
    """The three fits of each unit; lengths in pixels of the field; NaN for a fit that failed.

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
    """(U, 3): R² of the same fit on `test_field`; NaN without a `test_field`."""
    k: FloatArray
    """(U,): volume ratio As σs² / (Ac σc²): 0 no surround, 1 balanced, < 0 a skirt. It is about .9
    for Gabors and noise too: read it for units that are `is_centre_surround` only. NaN beyond ±10:
    the fit has no centre."""
    surround_z: FloatArray
    """(U,): sign(k) over the standard error of log |k|, that is k over its own, by propagation of
    the covariance (JᵀJ)⁻¹ SSE / (n − 7), n effective."""
    effective_pixels: FloatArray
    """(U,): effective number n of pixels of the window."""
    converged: NDArray[np.bool_]
    """(U, 3)."""


def fit_field_models(
    field: Field | FloatArray, test_field: Field | FloatArray | None = None
) -> FieldFits:
    """Fit Gaussian (5 parameters), DoG (7, σs ≥ 1.15 σc) and Gabor (8) to luminance fields.

    Each field is averaged down to at most 32 × 32 samples of a window of about 20 blob sizes about
    its centre (`locate_centre`), never finer than pixels, and fitted by least squares. The widths
    are then freed of the averaging. DoG after Rodieck 1965 (doi:10.1016/0042-6989(65)90033-7).

    *Effective pixels* n = N/a. N samples lie in the window; a = Σ ρ(lag)² is the correlation area
    of the residual of the best of the three fits, from its periodogram S as
    max(1, ½ · M · ΣS² / (ΣS)²) over the M frequencies (½, because a periodogram ordinate of noise
    is exponentially distributed: its mean square is twice its squared mean). n = N for white
    residuals. All three models use the same n.

    Args:
        field: (U, 3, h, w) or (U, h, w); NaN for a unit without a field.
        test_field: a second, independent field of the same units (from the other half of the
            images), on which the fits of `field` are tested.

    Raises:
        ValueError: `field` has another shape, or `test_field` has not the shape of `field`.

    >>> square = (np.arange(41)[:, None] - 20.0) ** 2 + (np.arange(41) - 22.0) ** 2
    >>> w = 2 * np.exp(-square / 18) - 0.3 * np.exp(-square / 72)
    >>> fits = fit_field_models(w[None])
    >>> fits.dog.round(3).tolist(), fits.k.round(3).tolist()
    ([[2.0, 3.0, 0.3, 6.0, 20.0, 22.0, 0.0]], [0.6])
    """
    if test_field is not None and test_field.shape != field.shape:
        raise ValueError(
            f"test_field must have the shape of field, {field.shape}, not {test_field.shape}"
        )
    starts = range(0, max(len(field), 1), UNITS_PER_CHUNK)
    chunks = [
        [None if f is None else f[i : i + UNITS_PER_CHUNK] for i in starts]
        for f in (field, test_field)
    ]
    with ThreadPoolExecutor() as pool:
        parts = list(pool.map(_fit_chunk, *chunks))
    names = FieldFits.__dataclass_fields__
    return FieldFits(**{n: np.concatenate([getattr(part, n) for part in parts]) for n in names})


def is_centre_surround(fits: FieldFits) -> NDArray[np.bool_]:
    """Decide which units are centre-surround, (U,); a unit without a fit is not.

    A unit must meet all of these conditions:

    - The three fits converged.
    - The DoG's AICc is lower by at least 6 than the Gaussian's, the Gabor's and a constant's.
    - .1 ≤ k ≤ 1.5, and k is at least 2 standard errors (`surround_z`).
    - With a `test_field`, the DoG's held-out R² is above zero, the Gaussian's and the Gabor's.

    The thresholds were set on planted fields, for at most 5 % false alarms on each of Gaussian,
    Gabor, white and smooth noise. A missed surround is much likelier than a false one: read the
    rate of such units together with the noise of their fields. An elongated centre-surround field
    is a Gabor by this rule.

    >>> at = np.arange(41) - 20.0
    >>> square = at[:, None] ** 2 + at**2
    >>> centre, noise = np.exp(-square / 18), np.random.default_rng(0).normal(0, 0.02, (2, 41, 41))
    >>> fields = np.stack([centre, centre - 0.2 * np.exp(-square / 72)]) + noise
    >>> is_centre_surround(fit_field_models(fields)).tolist()
    [False, True]
    """
    n, (gaussian, dog, gabor) = fits.effective_pixels, fits.aicc.T
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


class _Window(NamedTuple):
    """The samples of each unit's window: averages over boxes of `step` pixels about `middle`."""

    rows: FloatArray
    columns: FloatArray
    step: FloatArray
    middle: FloatArray
    mask: FloatArray
    """(U, n): 1 for a box that lies in the field, 0 elsewhere."""

    def sample(self, maps: FloatArray) -> FloatArray:
        """Average maps (U, h, w) over the boxes, (U, n)."""
        clean = np.where(np.isfinite(maps), maps, 0)
        samples = self.rows @ clean @ self.columns.swapaxes(1, 2)
        return np.asarray(samples.reshape(self.mask.shape) * self.mask)


def _place_window(centre: FloatArray, size: FloatArray, shape: tuple[int, ...]) -> _Window:
    reach = np.minimum(WINDOW_IN_BLOBS * size, max(shape))
    step = np.maximum(1, np.round(reach / GRID_SIDE))
    start = np.round(centre - GRID_SIDE * step[:, None] / 2) - 0.5
    rows, columns = (
        box_averaging_matrices(start[:, axis], step, GRID_SIDE, shape[axis]) for axis in (0, 1)
    )
    whole = [np.asarray(boxes.sum(2) > 0.999, np.float64) for boxes in (rows, columns)]
    mask = (whole[0][:, :, None] * whole[1][:, None]).reshape(len(size), GRID_SIDE**2)
    middle = start + GRID_SIDE * step[:, None] / 2
    return _Window(rows, columns, step, middle, mask)


def _fit_chunk(field: Field | FloatArray, test_field: Field | FloatArray | None) -> FieldFits:
    w = luminance_field(field).astype(np.float64)
    centre, size, _ = locate_centre(field)
    has_field = np.isfinite(size)
    centre, size = np.where(has_field[:, None], centre, 0), np.where(has_field, size, 1)
    window = _place_window(centre, size, w.shape[1:])
    step, middle, mask = window.step, window.middle, window.mask
    data = window.sample(w)
    offset, blob = (centre - middle) / step[:, None], size / step
    fits = [
        fit_curve(GAUSSIAN, round_curve_starts(offset, blob, [()]), data, mask),
        fit_curve(DOG, round_curve_starts(offset, blob, [(2.0,), (3.5,)]), data, mask),
        fit_curve(GABOR, gabor_starts(offset, blob, data), data, mask),
    ]
    sse, model = np.stack([f.sse for f in fits], 1), np.stack([f.model for f in fits], 1)
    converged = np.stack([f.converged for f in fits], 1) & has_field[:, None]
    held_out = np.full_like(sse, np.nan)
    if test_field is not None:
        second = luminance_field(test_field).astype(np.float64)
        has_test = np.asarray(np.isfinite(second).all((1, 2)))
        test = np.where(has_test[:, None], window.sample(second), np.nan)
        held_out = _r2(((test[:, None] - model) ** 2).sum(2), test, mask)
    left = data - model[np.arange(len(w)), sse.argmin(1)]
    pixels = mask.sum(1)
    n = pixels / _correlation_area(left)
    with np.errstate(divide="ignore", invalid="ignore"):
        aicc = n[:, None] * np.log(sse / pixels[:, None])
        aicc += np.stack([_aicc_penalty(n, p) for p in PARAMETER_COUNTS], 1)
        in_pixels = (_gaussian_in_pixels, _dog_in_pixels, _gabor_in_pixels)
        gaussian, dog, gabor = (
            np.where(success[:, None], convert(fit, step, middle), np.nan)
            for success, convert, fit in zip(converged.T, in_pixels, fits, strict=True)
        )
        k = dog[:, 2] * dog[:, 3] ** 2 / (dog[:, 0] * dog[:, 1] ** 2)
        k = np.where(np.abs(k) <= LARGEST_VOLUME_RATIO, k, np.nan)
        z = np.sign(k) / np.sqrt(_log_k_variance(fits[1]) * sse[:, 1] / np.maximum(n - 7, 0))
    aicc, r2, held_out = (
        np.where(converged, score, np.nan) for score in (aicc, _r2(sse, data, mask), held_out)
    )
    n = np.where(has_field, n, np.nan)
    return FieldFits(gaussian, dog, gabor, aicc, r2, held_out, k, z, n, converged)


def _r2(sse: FloatArray, data: FloatArray, mask: FloatArray) -> FloatArray:
    mean = data.sum(1, keepdims=True) / mask.sum(1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(1 - sse / (mask * (data - mean) ** 2).sum(1, keepdims=True))


def _log_k_variance(dog: CurveFit) -> FloatArray:
    slope = np.zeros(dog.inverse_normal.shape[:2])
    slope[:, 0], slope[:, 1], slope[:, 6] = -1 / dog.amplitudes[:, 0], 1 / dog.amplitudes[:, 1], 2
    return np.asarray(np.einsum("ui,uij,uj->u", slope, dog.inverse_normal, slope))


def _correlation_area(left: FloatArray) -> FloatArray:
    power = np.abs(np.fft.fft2(left.reshape(-1, GRID_SIDE, GRID_SIDE))) ** 2
    total = power.sum((1, 2)) ** 2
    spread = GRID_SIDE**2 * (power**2).sum((1, 2)) / np.where(total > 0, total, np.inf)
    return np.asarray(np.maximum(1, spread / 2))


def _remove_box_blur(log_sigma: FloatArray, step: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return widths in pixels without the boxes' own variance, and how much they shrank (< 1)."""
    blurred = np.exp(log_sigma) * step
    sigma = np.sqrt(blurred**2 - (step**2 - 1) / 12)
    return sigma, sigma / blurred


def _gaussian_in_pixels(fit: CurveFit, step: FloatArray, middle: FloatArray) -> FloatArray:
    sigma, narrower = _remove_box_blur(fit.theta[:, 2], step)
    place = middle + fit.theta[:, :2] * step[:, None]
    a, b = fit.amplitudes.T
    return np.column_stack([a / narrower**2, place, sigma, b])


def _dog_in_pixels(fit: CurveFit, step: FloatArray, middle: FloatArray) -> FloatArray:
    log_sigma, log_ratio = fit.theta.T[2:]
    inner, narrower = _remove_box_blur(log_sigma, step)
    outer, narrower_s = _remove_box_blur(log_sigma + log_ratio, step)
    a, s, b = fit.amplitudes.T
    place = middle + fit.theta[:, :2] * step[:, None]
    return np.column_stack([a / narrower**2, inner, -s / narrower_s**2, outer, place, b])


def _gabor_in_pixels(fit: CurveFit, step: FloatArray, middle: FloatArray) -> FloatArray:
    along, narrower = _remove_box_blur(fit.theta[:, 2], step)
    across, thinner = _remove_box_blur(fit.theta[:, 3], step)
    angle, f = fit.theta[:, 4], np.exp(fit.theta[:, 5]) / step / narrower**2
    even, odd = fit.amplitudes.T
    turns = np.floor(angle / np.pi)
    phase = np.arctan2(-odd, even) * np.where(turns % 2 == 0, 1, -1)
    lost = np.exp(-2 * (np.pi * f * narrower) ** 2 * (step**2 - 1) / 12)
    a = np.hypot(even, odd) / (narrower * thinner * lost)
    place = middle + fit.theta[:, :2] * step[:, None]
    return np.column_stack([a, place, along, across, angle - turns * np.pi, f, phase])
