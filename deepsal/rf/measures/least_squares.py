"""Least-squares fits of Gaussian, difference of Gaussians and Gabor to many small maps at once.

A curve is linear in its amplitudes, so the search runs over its other parameters θ only (variable
projection: Golub & Pereyra 1973, doi:10.1137/0710036). All maps share each step of one
Levenberg–Marquardt search. `scipy.optimize.least_squares`, which fits one map at a time, took 3.6
times as long for the three curves on 256 maps (the faster of its bounded methods, with the same
starts, slopes and projection; one thread, 2026-11-26, AMD EPYC).

Shapes: U maps of n = GRID_SIDE² samples, P parameters θ, L amplitudes c.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepsal.rf.measures.profile import FloatArray

GRID_SIDE = 32
GRID_POSITIONS = np.arange(GRID_SIDE) - (GRID_SIDE - 1) / 2
MIN_SURROUND_RATIO = 1.15
MAX_STEPS, SSE_TOLERANCE = 100, 1e-4


class CurveBasis(NamedTuple):
    """Basis maps φ (U, L, n) of a curve, and ∂(Σ c φ)/∂θ (U, P, n) as a function of c (U, L)."""

    maps: FloatArray
    slopes: Callable[[FloatArray], FloatArray]


class CurveModel(NamedTuple):
    """Basis of a curve at θ (U, P), and the bounds of θ, (P,) each."""

    basis_at: Callable[[FloatArray], CurveBasis]
    low: FloatArray
    high: FloatArray


class CurveFit(NamedTuple):
    """Fit of a curve to each map: θ (U, P), amplitudes (U, L), model (U, n) and SSE (U,).

    `inverse_normal` is (JᵀJ)⁻¹ (U, L + P, L + P), amplitudes first; `converged` (U,) is False where
    the search ran out of steps.
    """

    theta: FloatArray
    amplitudes: FloatArray
    model: FloatArray
    sse: FloatArray
    inverse_normal: FloatArray
    converged: NDArray[np.bool_]


def _bump(y: FloatArray, x: FloatArray, log_sigma: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return exp(−ρ²/2σ²) (U, n) and its slopes by y, x and log σ (U, 3, n)."""
    s = np.exp(-2 * log_sigma)[:, None]
    dy, dx = GRID_POSITIONS - y[:, None], GRID_POSITIONS - x[:, None]
    gy, gx = np.exp(-0.5 * s * dy**2), np.exp(-0.5 * s * dx**2)
    left = np.stack([gy, s * dy * gy, s * dy**2 * gy], 1)
    right = np.stack([gx, s * dx * gx, s * dx**2 * gx], 1)
    maps = left[:, [0, 1, 0, 2, 0], :, None] * right[:, [0, 0, 1, 0, 2], None, :]
    flat = maps.reshape(len(y), 5, GRID_SIDE**2)
    flat[:, 3] += flat[:, 4]
    return flat[:, 0], flat[:, 1:4]


def _gaussian(theta: FloatArray) -> CurveBasis:
    g, d = _bump(*theta.T)
    return CurveBasis(np.stack([g, np.ones_like(g)], 1), lambda c: c[:, :1, None] * d)


def _dog(theta: FloatArray) -> CurveBasis:
    y, x, log_sigma, log_ratio = theta.T
    (g, d), (wide, e) = _bump(y, x, log_sigma), _bump(y, x, log_sigma + log_ratio)

    def slopes(c: FloatArray) -> FloatArray:
        surround = c[:, 1, None, None] * e
        return np.concatenate([c[:, 0, None, None] * d + surround, surround[:, 2:]], 1)

    return CurveBasis(np.stack([g, wide, np.ones_like(g)], 1), slopes)


def _gabor(theta: FloatArray) -> CurveBasis:
    y, x, log_u, log_v, angle, log_f = (p[:, None] for p in theta.T)
    dy, dx = np.repeat(GRID_POSITIONS, GRID_SIDE) - y, np.tile(GRID_POSITIONS, GRID_SIDE) - x
    cos, sin = np.cos(angle), np.sin(angle)
    u, v = cos * dx + sin * dy, cos * dy - sin * dx
    pu, pv, k = np.exp(-2 * log_u), np.exp(-2 * log_v), 2 * np.pi * np.exp(log_f)
    envelope = np.exp(-0.5 * (pu * u**2 + pv * v**2))
    even, odd = envelope * np.cos(k * u), envelope * np.sin(k * u)

    def slopes(c: FloatArray) -> FloatArray:
        a, b = c[:, :1], c[:, 1:]
        value, turned = a * even + b * odd, k * (b * even - a * odd)
        by_u, by_v = turned - pu * u * value, -pv * v * value
        by_y, by_x = -sin * by_u - cos * by_v, sin * by_v - cos * by_u
        by_angle = by_u * v - by_v * u
        spread = pu * u**2 * value, pv * v**2 * value
        return np.stack([by_y, by_x, *spread, by_angle, turned * u], 1)

    return CurveBasis(np.stack([even, odd], 1), slopes)


def _bounded_curve(
    basis_at: Callable[[FloatArray], CurveBasis], *bounds: tuple[float, float]
) -> CurveModel:
    """Return a curve whose first two parameters, y and x, stay in the grid."""
    low, high = np.array([(-GRID_SIDE / 2, GRID_SIDE / 2)] * 2 + list(bounds), np.float64).T
    return CurveModel(basis_at, low, high)


LOG_WIDTH_RANGE = np.log(0.4), np.log(GRID_SIDE / 2)
GAUSSIAN = _bounded_curve(_gaussian, LOG_WIDTH_RANGE)
DOG = _bounded_curve(_dog, LOG_WIDTH_RANGE, (np.log(MIN_SURROUND_RATIO), np.log(6)))
GABOR = _bounded_curve(
    _gabor,
    LOG_WIDTH_RANGE,
    LOG_WIDTH_RANGE,
    (-np.inf, np.inf),
    (np.log(0.25 / GRID_SIDE), np.log(0.5)),
)


class _State(NamedTuple):
    theta: FloatArray
    amplitudes: FloatArray
    model: FloatArray
    sse: FloatArray
    normal: FloatArray
    gradient: FloatArray


def _project_amplitudes(basis: FloatArray, w: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the best amplitudes (U, L) and their sum of basis maps (U, n)."""
    gram = basis @ basis.swapaxes(1, 2)
    ridge = 1e-10 * np.trace(gram, axis1=1, axis2=2)[:, None, None] + 1e-300
    amplitudes = np.linalg.solve(gram + ridge * np.eye(gram.shape[1]), basis @ w[..., None])
    return amplitudes[..., 0], (amplitudes.swapaxes(1, 2) @ basis)[:, 0]


def _evaluate_curve(
    curve: CurveModel, theta: FloatArray, w: FloatArray, mask: FloatArray
) -> _State:
    maps, slopes = curve.basis_at(theta)
    basis = maps * mask[:, None]
    amplitudes, model = _project_amplitudes(basis, w)
    left = w - model
    jacobian = np.concatenate([basis, slopes(amplitudes) * mask[:, None]], 1)
    normal = jacobian @ jacobian.swapaxes(1, 2)
    gradient = (jacobian @ left[..., None])[..., 0]
    return _State(theta, amplitudes, model, (left**2).sum(1), normal, gradient)


def _damped_inverse(normal: FloatArray, damping: FloatArray, free: NDArray[np.bool_]) -> FloatArray:
    """Invert JᵀJ, scaled to a unit diagonal, over the free parameters; 0 for the others."""
    scale = np.sqrt(np.maximum(np.diagonal(normal, axis1=1, axis2=2), 1e-100))
    pair = free[:, None] & free[:, :, None]
    scaled = np.where(pair, normal / (scale[:, None] * scale[:, :, None]), 0)
    eye = np.eye(scale.shape[1])
    inverse = np.linalg.inv(scaled + eye * np.where(free, damping + 1e-10, 1)[:, None])
    return np.where(pair, inverse / (scale[:, None] * scale[:, :, None]), 0)


def fit_curve(curve: CurveModel, starts: FloatArray, w: FloatArray, mask: FloatArray) -> CurveFit:
    """Fit a curve to each map by least squares, from the best of its starts.

    Args:
        curve: the curve to fit.
        starts: (U, K, P), K values of θ to choose from.
        w: (U, n), maps; 0 where `mask` is 0.
        mask: (U, n), 1 where a sample counts, 0 elsewhere.

    >>> x = GRID_POSITIONS
    >>> w = 3 * np.exp(-((x[:, None] - 1) ** 2 + x**2) / 32).reshape(1, -1) + 1
    >>> fit = fit_curve(GAUSSIAN, np.array([[[0.0, 0.0, 1.0]]]), w, np.ones_like(w))
    >>> fit.theta.round(3).tolist(), np.exp(fit.theta[0, 2]).round(3), fit.amplitudes.round(3)
    ([[1.0, 0.0, 1.386]], np.float64(4.0), array([[3., 1.]]))
    """
    starts = np.clip(starts, curve.low, curve.high)
    bases = (curve.basis_at(start).maps * mask[:, None] for start in starts.swapaxes(0, 1))
    tried = [((w - _project_amplitudes(basis, w)[1]) ** 2).sum(1) for basis in bases]
    state = _evaluate_curve(curve, starts[np.arange(len(w)), np.argmin(tried, 0)], w, mask)
    linear = state.amplitudes.shape[1]
    floor = 1e-12 * (w**2).sum(1)
    damping, done = np.full(len(w), 1e-2), state.sse <= floor
    for _ in range(MAX_STEPS):
        at = np.flatnonzero(~done)
        if not len(at):
            break
        now = _State(*(part[at] for part in state))
        pull = now.gradient[:, linear:]
        stuck = ((now.theta <= curve.low) & (pull < 0)) | ((now.theta >= curve.high) & (pull > 0))
        free = np.concatenate([np.ones_like(now.amplitudes, np.bool_), ~stuck], 1)
        extra = np.zeros_like(now.gradient)
        extra[:, linear:] = damping[at, None]
        move = (_damped_inverse(now.normal, extra, free) @ now.gradient[..., None])[:, linear:, 0]
        new = _evaluate_curve(
            curve, np.clip(now.theta + move, curve.low, curve.high), w[at], mask[at]
        )
        better = new.sse < now.sse
        for part, fresh in zip(state, new, strict=True):
            part[at[better]] = fresh[better]
        small = now.sse - new.sse <= SSE_TOLERANCE * now.sse
        done[at] = (better & small) | (damping[at] > 1e6) | (new.sse <= floor[at])
        damping[at] *= np.where(better, 0.2, 8)
    free = np.ones_like(state.gradient, np.bool_)
    inverse = _damped_inverse(state.normal, np.zeros_like(state.gradient), free)
    return CurveFit(*state[:4], inverse, done)


def round_curve_starts(
    offset: FloatArray, blob: FloatArray, ratios: list[tuple[float, ...]]
) -> FloatArray:
    """Return starts (U, K, 3 or 4) for `GAUSSIAN` or `DOG`, in three widths each.

    Args:
        offset: (U, 2), y and x of the centre from the middle of the grid, samples.
        blob: (U,), size of the blob, samples.
        ratios: [()] for `GAUSSIAN`; values of σs/σc as 1-tuples for `DOG`.
    """
    starts = [
        np.column_stack(
            [offset, np.log(blob * grow), *(np.full(len(blob), np.log(r)) for r in ratio)]
        )
        for grow in (0.7, 1.0, 1.4)
        for ratio in ratios
    ]
    return np.stack(starts, 1)


def gabor_starts(offset: FloatArray, blob: FloatArray, data: FloatArray) -> FloatArray:
    """Return starts (U, K, 6) for `GABOR`: the peak of the spectrum, and four slow directions.

    Args:
        offset: (U, 2), y and x of the centre from the middle of the grid, samples.
        blob: (U,), size of the blob, samples.
        data: (U, n), maps.
    """
    near = [
        np.exp(-((GRID_POSITIONS - offset[:, i, None]) ** 2) / (18 * blob[:, None] ** 2))
        for i in (0, 1)
    ]
    local = data.reshape(-1, GRID_SIDE, GRID_SIDE) * near[0][:, :, None] * near[1][:, None]
    power = np.abs(np.fft.rfft2(local, (2 * GRID_SIDE, 2 * GRID_SIDE)))
    power[:, 0, 0] = 0
    y, x = np.divmod(
        power.reshape(len(data), 2 * GRID_SIDE * (GRID_SIDE + 1)).argmax(1), GRID_SIDE + 1
    )
    y = np.fft.fftfreq(2 * GRID_SIDE)[y]
    x = x / (2 * GRID_SIDE)
    tuned = [(np.arctan2(y, x), np.hypot(y, x), grow) for grow in (1.0, 1.8, 3.0)]
    every = np.ones(len(data))
    slow = [(every * i * np.pi / 4, 0.12 / blob, 1.5) for i in range(4)]
    starts = [
        np.column_stack([offset, *[np.log(blob * grow)] * 2, angle, np.log(np.maximum(f, 1e-9))])
        for angle, f, grow in tuned + slow
    ]
    return np.stack(starts, 1)
