from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from deepsal.rf.measures.fit import (
    FIELD_MODELS,
    _correlation_area,
    fit_field_models,
    is_centre_surround,
)

Maps = NDArray[np.float64]
SIDES = {2: 45, 4: 81, 8: 161}
UNITS = 12
RATIO = 2.5
OTHERS = ["gaussian", "gabor", "white", "smooth"]


def planted(kind: str, sigma: int, k: float = 0) -> tuple[Maps, Maps]:
    """Return fields (U, h, w) without noise, every other one OFF, and their centres."""
    rng = np.random.default_rng([sigma, int(100 * k)])
    side = SIDES[sigma]
    places = (side - 1) / 2 + rng.uniform(-sigma, sigma, (UNITS, 2))
    at = np.arange(side)
    dy = (at - places[:, :1])[:, :, None]
    dx = (at - places[:, 1:])[:, None]
    q = dy**2 + dx**2
    w = np.exp(-q / (2 * sigma**2))
    if kind == "dog":
        w -= k / RATIO**2 * np.exp(-q / (2 * (RATIO * sigma) ** 2))
    elif kind == "gabor":
        angle, phase, f = rng.uniform([0, 0, 0.15], [np.pi, 6.28, 0.35], (UNITS, 3)).T[
            :, :, None, None
        ]
        w *= np.cos(2 * np.pi * f / sigma * (np.cos(angle) * dx + np.sin(angle) * dy) + phase)
    elif kind != "gaussian":
        w *= 0
    return w * np.where(np.arange(UNITS) % 2, 1, -1)[:, None, None], places


@cache
def noisy(kind: str, sigma: int, noise: float, k: float = 0) -> tuple[Maps, Maps, Maps]:
    w, places = planted(kind, sigma, k)
    rng = np.random.default_rng(0)
    first, second = rng.normal(0, noise, (2, *w.shape))
    if kind == "smooth":
        first, second = (gaussian_filter(n, (0, sigma / 2, sigma / 2)) for n in (first, second))
    return w + first, w + second, places


@pytest.mark.parametrize("sigma", [2, 4, 8])
@pytest.mark.parametrize("k", [0.3, 0.55, 0.9])
def test_a_planted_surround_is_measured_in_pixels_of_the_field(sigma: int, k: float) -> None:
    w, places = planted("dog", sigma, k)
    fits = fit_field_models(w)
    ac, inner, surround, outer, y, x, b = fits.dog.T
    assert np.hypot(y - places[:, 0], x - places[:, 1]).max() < 0.01 * sigma
    assert inner == pytest.approx(sigma, rel=0.01)
    assert outer == pytest.approx(RATIO * sigma, rel=0.02)
    assert np.sign(ac).tolist() == [-1, 1] * (UNITS // 2)
    assert np.abs(ac) == pytest.approx(1, rel=0.02)
    assert surround / ac == pytest.approx(k / RATIO**2, rel=0.05)
    assert b == pytest.approx(0, abs=1e-3)
    assert fits.k == pytest.approx(k, rel=0.02)


@pytest.mark.parametrize("sigma", [2, 4, 8])
@pytest.mark.parametrize(("k", "noise"), [(0.3, 0.02), (0.55, 0.02), (0.9, 0.02), (0.9, 0.1)])
def test_a_surround_in_noise_is_recovered_and_called_one(
    sigma: int, k: float, noise: float
) -> None:
    w, other, places = noisy("dog", sigma, noise, k)
    fits = fit_field_models(w, other)
    assert np.median(fits.k) == pytest.approx(k, abs=0.1)
    assert np.median(fits.dog[:, 1]) == pytest.approx(sigma, rel=0.05)
    assert np.median(np.hypot(*(fits.dog[:, 4:6] - places).T)) < 0.1 * sigma
    assert fits.converged.mean() > 0.9
    assert (np.nanargmin(fits.aicc, 1) == FIELD_MODELS.index("dog")).mean() > 0.8
    assert is_centre_surround(fits).mean() > 0.7


@pytest.mark.parametrize("kind", OTHERS)
def test_at_most_one_in_twenty_others_is_called_centre_surround(kind: str) -> None:
    tested = [
        fit_field_models(*noisy(kind, sigma, noise)[:2])
        for sigma in SIDES
        for noise in ((0.05, 0.2) if kind in OTHERS[:2] else (0.2,))
    ]
    blind = [replace(f, held_out=np.full_like(f.held_out, np.nan)) for f in tested]
    for fits in (tested, blind):
        assert np.concatenate([is_centre_surround(f) for f in fits]).mean() <= 0.05


@pytest.mark.parametrize("sigma", [2, 8])
def test_gaussians_and_gabors_are_told_by_their_score_and_measured(sigma: int) -> None:
    round_ones, oriented = (
        fit_field_models(noisy(kind, sigma, 0.05)[0]) for kind in ("gaussian", "gabor")
    )
    assert np.median(round_ones.gaussian[:, 3]) == pytest.approx(sigma, rel=0.05)
    assert (round_ones.aicc.argmin(1) == 0).mean() > 0.5
    assert (oriented.aicc.argmin(1) == 2).all()
    a, _, _, along, across, angle, f, _ = fit_field_models(planted("gabor", sigma)[0]).gabor.T
    assert np.median(along) == pytest.approx(sigma, rel=0.03)
    assert np.median(across) == pytest.approx(sigma, rel=0.03)
    truth = np.random.default_rng([sigma, 0])
    truth.uniform(size=(UNITS, 2))
    turn, _, cycles = truth.uniform([0, 0, 0.15], [np.pi, 6.28, 0.35], (UNITS, 3)).T
    assert np.median(np.abs(f * sigma / cycles - 1)) < 0.03
    assert np.median(np.abs(np.sin(angle - turn))) < 0.03
    assert np.median(a) == pytest.approx(1, rel=0.1)


def test_held_out_noise_is_not_explained_and_a_held_out_field_is() -> None:
    w, other, _ = noisy("dog", 4, 0.05, 0.9)
    fits = fit_field_models(w, other)
    assert (fits.held_out[:, 1] > fits.held_out[:, 0]).all()
    assert np.median(fits.r2[:, 1] - fits.held_out[:, 1]) == pytest.approx(0, abs=0.05)
    noise, more, _ = noisy("white", 4, 0.05)
    assert (fit_field_models(noise, more).held_out < 0.02).all()
    assert np.isnan(fit_field_models(w).held_out).all()


def test_effective_pixels_are_all_of_white_noise_and_few_of_smooth() -> None:
    fits = fit_field_models(noisy("gaussian", 2, 0.2)[0])
    assert np.median(fits.effective_pixels) == pytest.approx(1024, rel=0.1)
    white = np.random.default_rng(5).normal(size=(24, 32, 32))
    for sigma in (1.0, 1.5):
        smooth = gaussian_filter(white, (0, sigma, sigma), mode="wrap")
        area = _correlation_area(smooth.reshape(24, -1))
        assert np.median(area) == pytest.approx(2 * np.pi * sigma**2, rel=0.2)


def test_a_unit_without_a_field_has_no_fit_and_spoils_no_other() -> None:
    w, _ = planted("dog", 2, 0.9)
    holes = np.concatenate([w[:2], np.full_like(w[:1], np.nan), np.zeros_like(w[:1])])
    fits, alone = fit_field_models(holes, holes), fit_field_models(w[:2])
    assert fits.k[:2] == pytest.approx(alone.k)
    for value in (fits.dog, fits.gaussian, fits.gabor, fits.aicc, fits.r2, fits.held_out):
        assert np.isnan(value[2:]).all()
    assert np.isnan(fits.k[2:]).all()
    assert np.isnan(fits.effective_pixels[2:]).all()
    assert not fits.converged[2:].any()
    assert is_centre_surround(fits).tolist() == [True, True, False, False]


def test_a_field_of_fewer_pixels_than_parameters_has_no_score() -> None:
    tiny = np.random.default_rng(0).normal(size=(3, 3, 3, 2)).astype(np.float32)
    fits = fit_field_models(tiny)
    assert np.isnan(fits.aicc).all()
    assert not is_centre_surround(fits).any()


def test_colour_and_luminance_fields_fit_alike_and_nothing_fits_nothing() -> None:
    w, _ = planted("dog", 2, 0.55)
    colour = np.repeat(w[:, None], 3, 1).astype(np.float32)
    assert fit_field_models(colour).k == pytest.approx(fit_field_models(w).k, rel=1e-3)
    assert fit_field_models(colour[:0]).dog.shape == (0, 7)
    with pytest.raises(ValueError, match="test_field must have the shape of field"):
        fit_field_models(colour, colour[:2])


@pytest.mark.parametrize("spike", [0.1, 0.3])
def test_a_fit_without_a_centre_has_no_k(spike: float) -> None:
    at = np.arange(61) - 30.0
    square = at[:, None] ** 2 + at**2
    w = np.exp(-square / 128) + spike * np.exp(-square / 8)
    fits = fit_field_models(w + np.random.default_rng(0).normal(0, 0.003, (4, 61, 61)))
    assert fits.converged[:, 1].all()
    assert np.isnan(fits.k).all(), "the wide blob has 50 times the volume of the speck, or more"
    assert not is_centre_surround(fits).any()
