import numpy as np
import pytest
from numpy.typing import NDArray

from deepsal.rf.measures.profile import field_extent, luminance_field, radial_profile, smooth_field


def gaussian(sigma: float, side: int = 41) -> NDArray[np.float32]:
    at = np.arange(side) - side // 2
    blob = np.exp(-(at[:, None] ** 2 + at**2) / (2 * sigma**2)).astype(np.float32)
    return np.repeat(blob[None, None], 3, 1)


@pytest.mark.parametrize("sigma", [3.0, 5.0])
def test_the_extent_of_a_gaussian_is_that_of_its_disc(sigma: float) -> None:
    radius = sigma * np.sqrt(-2 * np.log(1 - 0.9545))
    assert field_extent(gaussian(sigma))[0] == pytest.approx(np.sqrt(np.pi) * radius, rel=0.03)


def test_extent_ignores_sign_and_gain() -> None:
    assert field_extent(-7 * gaussian(3)) == pytest.approx(field_extent(gaussian(3)))


def test_a_missing_field_has_no_extent() -> None:
    field = np.concatenate([gaussian(3), gaussian(5), np.full_like(gaussian(3), np.nan)])
    assert np.isnan(field_extent(field)).tolist() == [False, False, True]


def test_smoothing_keeps_the_mass_and_takes_a_checkerboard_out() -> None:
    field = gaussian(3)
    board = np.where(np.indices((41, 41)).sum(0) % 2, 1, -1).astype(np.float32)
    noisy = smooth_field(field + board, 1.0)
    assert np.abs(noisy - smooth_field(field, 1.0))[..., 5:-5, 5:-5].max() < 1e-2
    assert smooth_field(field, 1.0).sum() == pytest.approx(field.sum(), rel=1e-3)
    assert smooth_field(field, 0.0) is field


def test_luminance_is_blind_to_colour_opponency() -> None:
    opponent = np.zeros((1, 3, 5, 5), np.float32)
    opponent[:, 0], opponent[:, 1] = 1, -1
    assert not luminance_field(opponent).any()


def test_colours_are_averaged_and_other_layouts_refused() -> None:
    field = np.arange(24, dtype=np.float32).reshape(1, 3, 2, 4)
    assert luminance_field(field) == pytest.approx(field.mean(1))
    assert luminance_field(field[:, 1]) == pytest.approx(field[:, 1])
    with pytest.raises(ValueError, match=r"field must be \(U, 3, h, w\).*not \(1, 2, 2, 4\)"):
        luminance_field(field[:, :2])


@pytest.mark.parametrize("side", [41, 40])
def test_a_difference_of_gaussians_is_recovered_in_its_rings(side: int) -> None:
    at = np.arange(side) - (side - 1) / 2
    squares = at[:, None] ** 2 + at**2

    def dog(square: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.exp(-square / 18) - 0.4 * np.exp(-square / 72)

    field = np.repeat(dog(squares)[None, None], 3, 1).astype(np.float32)
    radius, profile = radial_profile(np.concatenate([field, -2 * field]))
    assert len(radius) == 20 + side % 2
    assert profile[0] == pytest.approx(dog(radius**2), abs=0.01)
    assert profile[1] == pytest.approx(-2 * profile[0])
    assert profile[0, 0] > 0.5 > 0 > profile[0].min() == profile[0, 7:10].min()


def test_a_ring_sums_right_and_is_one_pixel_wide() -> None:
    at = np.arange(21) - 10
    distance = np.hypot(at[:, None], at)
    ring = (distance >= 5) & (distance < 6)
    field = np.repeat(7 * ring[None, None], 3, 1).astype(np.float32)
    radius, profile = radial_profile(field)
    assert profile[0].tolist() == [7.0 if k == 5 else 0.0 for k in range(11)]
    assert radius[5] == pytest.approx(distance[ring].mean())
    assert profile[0, 5] * ring.sum() == pytest.approx(field[0, 0].sum())


def test_the_middle_of_an_even_or_oblong_array_lies_between_pixels() -> None:
    field = np.zeros((1, 3, 4, 7), np.float32)
    field[..., 1:3, 3] = 1
    radius, profile = radial_profile(field)
    assert radius[0] == 0.5
    assert profile[0].tolist() == [1, 0]


def test_a_missing_field_has_no_profile() -> None:
    radius, profile = radial_profile(
        np.concatenate([gaussian(3), np.full_like(gaussian(3), np.nan)])
    )
    assert np.isfinite(radius).all()
    assert np.isfinite(profile).all(1).tolist() == [True, False]
    assert np.isnan(profile[1]).all()
