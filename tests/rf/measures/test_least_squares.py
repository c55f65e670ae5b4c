import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import least_squares

from deepsal.rf.measures.least_squares import (
    DOG,
    GABOR,
    GAUSSIAN,
    GRID_POSITIONS,
    GRID_SIDE,
    CurveModel,
    fit_curve,
    gabor_starts,
    round_curve_starts,
)

CASES = [
    (GAUSSIAN, [1.3, -2.2, np.log(3)], [2.0, 0.1]),
    (DOG, [1.3, -2.2, np.log(2), np.log(2.5)], [2.0, -0.3, 0.1]),
    (GABOR, [1.3, -2.2, np.log(4), np.log(3), 0.6, np.log(0.12)], [2.0, -1.0]),
]


@pytest.mark.parametrize(("curve", "theta", "amplitudes"), CASES)
def test_slopes_are_those_of_finite_differences(
    curve: CurveModel, theta: list[float], amplitudes: list[float]
) -> None:
    at, c = np.array([theta]), np.array([amplitudes])

    def value(t: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray((c[:, None] @ curve.basis_at(t).maps)[0, 0])

    slopes = curve.basis_at(at).slopes(c)[0]
    for i, slope in enumerate(slopes):
        nudge = np.zeros_like(at)
        nudge[0, i] = 1e-5
        assert slope == pytest.approx((value(at + nudge) - value(at - nudge)) / 2e-5, abs=1e-7)


@pytest.mark.parametrize(("curve", "theta", "amplitudes"), CASES)
def test_a_fit_ends_where_scipys_does(
    curve: CurveModel, theta: list[float], amplitudes: list[float]
) -> None:
    truth = (np.array([amplitudes])[:, None] @ curve.basis_at(np.array([theta])).maps)[:, 0]
    w = truth + np.random.default_rng(0).normal(0, 0.1, truth.shape)
    mask = np.ones_like(w)
    mask[:, : 3 * GRID_SIDE] = 0
    w *= mask
    start = np.array([theta]) + 0.2
    fit = fit_curve(curve, start[:, None], w, mask)

    def left(p: NDArray[np.float64]) -> NDArray[np.float64]:
        t, c = p[: len(theta)], p[len(theta) :]
        return np.asarray((w - c @ curve.basis_at(t[None]).maps[0] * mask)[0])

    reference = least_squares(left, [*start[0], *amplitudes], method="lm", xtol=1e-10, ftol=1e-10)
    assert fit.converged.all()
    assert fit.sse[0] == pytest.approx(2 * reference.cost, rel=1e-4)
    assert [*fit.theta[0], *fit.amplitudes[0]] == pytest.approx(reference.x, rel=0.02, abs=0.02)


def test_the_covariance_predicts_how_fits_scatter() -> None:
    clean = 2 * np.exp(-((GRID_POSITIONS[:, None]) ** 2 + GRID_POSITIONS**2) / 18).reshape(1, -1)
    w = clean + np.random.default_rng(1).normal(0, 0.1, (200, GRID_SIDE**2))
    fit = fit_curve(GAUSSIAN, np.tile([[[0.0, 0.0, 1.0]]], (200, 1, 1)), w, np.ones_like(w))
    predicted = np.sqrt(np.diagonal(fit.inverse_normal, axis1=1, axis2=2).mean(0)) * 0.1
    scatter = np.concatenate([fit.amplitudes, fit.theta], 1).std(0)
    assert scatter == pytest.approx(predicted, rel=0.2)


def test_a_start_out_of_the_box_is_brought_in_and_a_fit_stays_in_it() -> None:
    wide = 1 - (GRID_POSITIONS[:, None] ** 2 + GRID_POSITIONS**2).reshape(1, -1) / 1e4
    fit = fit_curve(GAUSSIAN, np.array([[[99.0, 0.0, 9.0]]]), wide, np.ones_like(wide))
    assert (fit.theta >= GAUSSIAN.low).all()
    assert (fit.theta <= GAUSSIAN.high).all()
    assert np.isfinite(fit.sse).all()


def test_a_flat_map_ends_at_once_without_an_error() -> None:
    none = np.zeros((2, GRID_SIDE**2))
    starts = round_curve_starts(np.zeros((2, 2)), np.ones(2), [(2.0,)])
    fit = fit_curve(DOG, starts, none, np.ones_like(none))
    assert fit.sse.tolist() == [0, 0]


def test_a_gabors_start_has_its_frequency_and_direction() -> None:
    u = np.cos(0.5) * GRID_POSITIONS + np.sin(0.5) * GRID_POSITIONS[:, None]
    w = np.exp(-(GRID_POSITIONS[:, None] ** 2 + GRID_POSITIONS**2) / 50) * np.sin(2 * np.pi * u / 6)
    start = gabor_starts(np.zeros((1, 2)), np.array([3.0]), w.reshape(1, -1))[0, 0]
    assert np.exp(start[5]) == pytest.approx(1 / 6, abs=0.02)
    assert np.sin(start[4] - 0.5) == pytest.approx(0, abs=0.1)
