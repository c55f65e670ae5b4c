import numpy as np
import pytest
from numpy.typing import NDArray

from deepsal.rf.measures import shape

Maps = NDArray[np.float64]
MEASURES = [
    shape.spatial_opponency,
    shape.radial_r2,
    shape.centre_surround_index,
    shape.surround_index,
    shape.anisotropy,
]
AT = np.arange(91) - 45.0


def gaussian(sigma: float, y: float = 0, x: float = 0, long: float = 1) -> Maps:
    q = (AT - y)[:, None] ** 2 / long**2 + (AT - x) ** 2
    return np.asarray(np.exp(-q / (2 * sigma**2)))


def dog(k: float, sigma: float = 4, ratio: float = 2, y: float = 0, x: float = 0) -> Maps:
    return np.asarray(gaussian(sigma, y, x) - k / ratio**2 * gaussian(ratio * sigma, y, x))


GABOR = gaussian(6) * np.cos(2 * np.pi * AT / 15)
NOISE = np.random.default_rng(0).normal(size=(91, 91))


def test_only_a_balanced_disc_has_a_high_centre_surround_index() -> None:
    fields = np.stack([gaussian(4), dog(0.9), GABOR, NOISE])
    blob, disc, gabor, noise = shape.centre_surround_index(fields)
    assert blob == pytest.approx(0, abs=0.01)
    assert disc == pytest.approx(0.89, abs=0.01)
    assert noise == pytest.approx(0.01, abs=0.01)
    assert 0.1 < gabor < 0.5
    assert (shape.spatial_opponency(fields)[2:] > 0.9).all()


@pytest.mark.parametrize("k", [0.3, 0.55, 0.9])
def test_opponency_and_surround_index_of_a_disc_are_those_of_its_integrals(k: float) -> None:
    sigma, ratio = 4.0, 2.0
    zero = np.sqrt(2 * np.log(ratio**2 / k) / (1 - ratio**-2)) * sigma
    rim, outer = (
        np.exp(-(zero**2) / (2 * sigma**2)),
        np.exp(-(zero**2) / (2 * (ratio * sigma) ** 2)),
    )
    plus, minus = (1 - rim) - k * (1 - outer), k * outer - rim
    fields = np.stack([dog(k), -3 * dog(k, y=4.3, x=-6.8)])
    assert shape.surround_index(fields) == pytest.approx(minus / plus, abs=0.02)
    assert shape.spatial_opponency(fields) == pytest.approx(1 - (1 - k) / (plus + minus), abs=0.01)
    assert shape.radial_r2(fields) == pytest.approx(1, abs=0.01)


def test_anisotropy_is_that_of_the_variances_along_the_axes() -> None:
    fields = np.stack([gaussian(3, long=2), gaussian(3), gaussian(3, long=2).T, NOISE])
    expected = (4 - 1) / (4 + 1)
    assert shape.anisotropy(fields) == pytest.approx([expected, 0, expected, 0], abs=0.02)


def test_an_oriented_field_is_less_radial_than_a_disc_and_more_than_noise() -> None:
    bar, disc, noise = shape.radial_r2(np.stack([gaussian(3, long=3), dog(0.5), NOISE]))
    assert disc > 0.99 > 0.9 > bar > 0.1 > noise


@pytest.mark.parametrize("measure", MEASURES)
def test_measures_ignore_gain_and_colours_alike_and_miss_what_is_missing(measure) -> None:  # type: ignore[no-untyped-def]
    grey = np.stack([dog(0.7, x=3), GABOR, np.full_like(NOISE, np.nan), np.zeros_like(NOISE)])
    colour = np.repeat(grey[:, None], 3, 1).astype(np.float32)
    value = measure(grey)
    assert value.dtype == np.float64
    assert np.isnan(value).tolist() == [False, False, True, True]
    assert measure(colour) == pytest.approx(value, abs=1e-3, nan_ok=True)
    assert measure(5 * grey) == pytest.approx(value, nan_ok=True)
    with pytest.raises(ValueError, match="field must be"):
        measure(NOISE)


def test_redundancy_is_the_mean_of_the_correlation_matrix_off_its_diagonal() -> None:
    field = np.random.default_rng(1).normal(size=(7, 3, 9, 9)).astype(np.float32)
    field += np.asarray(dog(0.5), np.float32)[41:50, 41:50]
    matrix = np.asarray(np.corrcoef(field.reshape(7, -1)))
    expected = matrix[~np.eye(7, dtype=bool)].mean()
    missing = np.full((2, 3, 9, 9), np.nan, np.float32)
    assert shape.unit_redundancy(np.concatenate([field, missing])) == pytest.approx(
        expected, abs=1e-5
    )
    assert np.isnan(shape.unit_redundancy(np.concatenate([field[:1], missing])))
