import numpy as np
import pytest
from numpy.typing import NDArray

from deepsal.rf.measures.centre import box_averaging_matrices, locate_centre

Maps = NDArray[np.float64]


def squares(side: int, y: float, x: float) -> Maps:
    return np.asarray((np.arange(side) - y)[:, None] ** 2 + (np.arange(side) - x) ** 2)


@pytest.mark.parametrize(("side", "sigma"), [(41, 2.0), (101, 5.0), (200, 16.0)])
@pytest.mark.parametrize("k", [0.0, 0.9])
def test_a_blob_far_from_the_middle_is_found_in_noise(side: int, sigma: float, k: float) -> None:
    y, x = 0.4 * side, 0.55 * side
    q = squares(side, y, x)
    w = -np.exp(-q / (2 * sigma**2)) + k / 9 * np.exp(-q / (18 * sigma**2))
    noise = np.random.default_rng(0).normal(0, 0.2, (6, side, side))
    place, size, sign = locate_centre(w + noise)
    assert np.hypot(*(place - (y, x)).T).max() < 0.5 * sigma
    assert (np.abs(size / sigma - 1) < 0.4).all()
    assert (sign == -1).all()
    exact, _, _ = locate_centre(w[None])
    assert exact[0] == pytest.approx((y, x), abs=0.05 * sigma)


@pytest.mark.parametrize("phase", [0.0, 0.25, 0.5, 0.8])
def test_the_middle_of_a_gabor_hardly_depends_on_its_phase(phase: float) -> None:
    carrier = np.cos(2 * np.pi * ((np.arange(81) - 37) / 24 + phase))
    place, _, _ = locate_centre((np.exp(-squares(81, 42, 37) / 72) * carrier)[None])
    assert place[0] == pytest.approx((42, 37), abs=2)


def test_an_empty_or_missing_field_has_no_centre_and_spoils_no_other() -> None:
    blob = np.exp(-squares(21, 9, 12) / 8)
    w = np.stack([np.full_like(blob, np.nan), blob, np.zeros_like(blob), np.ones_like(blob)])
    w[0, 0, 0] = 1
    place, size, sign = locate_centre(w)
    assert place[1] == pytest.approx((9, 12), abs=0.05)
    for value in (place[:, 0], size, sign):
        assert np.isnan(value).tolist() == [True, False, True, True]


def test_boxes_average_pixels_and_show_where_they_leave_the_axis() -> None:
    matrix = box_averaging_matrices(np.array([-2.5, 0.5]), np.array([2.0, 3.0]), 3, 6)
    assert matrix.sum(2).tolist() == [[0, 1, 1], pytest.approx([1, 2 / 3, 0])]
    assert (matrix[0] @ np.arange(6.0)).tolist() == [0, 0.5, 2.5]
    assert matrix[1, 0] @ np.arange(6.0) == pytest.approx(2)


def test_polarity_is_the_sign_of_the_centre_also_of_a_surround_as_large() -> None:
    def dog(k: float, x: float = 45) -> Maps:
        q = squares(91, 45, x)
        return np.asarray(np.exp(-q / 32) - k / 4 * np.exp(-q / 128))

    fields = np.stack([dog(0.9), -dog(0.9), dog(1.2, x=54), -np.exp(-squares(91, 45, 45) / 18)])
    assert locate_centre(fields)[2].tolist() == [1, -1, 1, -1]
