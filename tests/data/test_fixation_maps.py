import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from deepsal.data.fixation_maps import fixation_density, rasterise_fixations

SIZE = (30, 47)


def scattered(seed: int, count: int = 500) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    fractions = torch.rand(count, 2, generator=generator, dtype=torch.float64)
    return fractions * torch.tensor([SIZE[1], SIZE[0]]) - 0.5


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("grid", [(1, 1), (3, 200), (30, 47), (64, 64), (7, 11), (601, 802)])
def test_no_fixation_is_lost_whatever_the_grid(grid: tuple[int, int], seed: int) -> None:
    counts = rasterise_fixations(scattered(seed), SIZE, grid)
    assert counts.shape == grid
    assert counts.sum() == 500


@pytest.mark.parametrize("width", [30, 51, 58, 100, 640, 800, 1024])
@pytest.mark.parametrize("grid", [48, 192, 224, 256, 320])
def test_the_last_coordinate_before_the_border_falls_into_the_last_cell(
    width: int, grid: int
) -> None:
    x = np.nextafter(width - 0.5, 0)
    counts = rasterise_fixations(
        torch.tensor([[x, 0.0]], dtype=torch.float64), (4, width), (4, grid)
    )
    assert counts[0, -1] == 1


@pytest.mark.parametrize("seed", range(3))
def test_every_fixation_counts_in_the_cell_that_holds_it(seed: int) -> None:
    points = scattered(seed, 200)
    expected, _, _ = np.histogram2d(
        points[:, 1], points[:, 0], bins=(6, 9), range=((-0.5, 29.5), (-0.5, 46.5))
    )
    assert np.array_equal(rasterise_fixations(points, SIZE, (6, 9)).numpy(), expected)


@pytest.mark.parametrize(
    ("x", "column"), [(-0.5, 0), (0.49, 0), (0.5, 1), (1.0, 1), (1.49, 1), (1.5, 2), (46.49, 46)]
)
def test_pixel_i_reaches_from_half_a_pixel_before_to_half_a_pixel_after(
    x: float, column: int
) -> None:
    counts = rasterise_fixations(torch.tensor([[x, 0.0]], dtype=torch.float64), SIZE, SIZE)
    assert counts.nonzero().tolist() == [[0, column]]


def test_x_runs_along_the_columns_and_y_along_the_rows() -> None:
    assert rasterise_fixations(torch.tensor([[40.0, 2.0]]), SIZE, SIZE).nonzero().tolist() == [
        [2, 40]
    ]


@pytest.mark.parametrize("point", [(-0.51, 0), (46.51, 0), (0, -0.51), (0, 29.51), (1e9, 0)])
def test_a_point_off_the_image_is_named(point: tuple[float, float]) -> None:
    points = torch.tensor([(3.0, 3.0), point], dtype=torch.float64)
    x, y = point
    with pytest.raises(
        ValueError, match=rf"\({x:g}, {y:g}\) lies off its 47x30 image".replace("+", r"\+")
    ):
        rasterise_fixations(points, SIZE, (8, 8))


def test_a_point_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="nan"):
        rasterise_fixations(torch.tensor([[float("nan"), 0.0]]), SIZE, SIZE)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("sigma", [(0.7, 0.7), (2.0, 5.0), (30.0, 30.0)])
def test_a_blurred_map_sums_to_one(sigma: tuple[float, float], seed: int) -> None:
    density = fixation_density(rasterise_fixations(scattered(seed, 20), SIZE, SIZE), sigma)
    assert density.sum().item() == pytest.approx(1, abs=1e-5)
    assert density.min() >= 0


@pytest.mark.parametrize("sigma", [(2.0, 2.0), (1.5, 4.0), (4.0, 1.5)])
def test_the_blur_is_scipys_with_zeros_beyond_the_border(sigma: tuple[float, float]) -> None:
    counts = rasterise_fixations(scattered(0), SIZE, SIZE)
    expected = gaussian_filter(counts.double().numpy(), sigma, mode="constant", truncate=10)
    assert np.allclose(
        fixation_density(counts, sigma).numpy(), expected / expected.sum(), rtol=1e-4, atol=0
    )


def test_sigma_is_vertical_first() -> None:
    point = rasterise_fixations(torch.tensor([[23.0, 15.0]]), SIZE, SIZE)
    density = fixation_density(point, (1.0, 3.0))
    at = torch.arange(47.0) - 23
    spread = (density.sum(0) * at.square()).sum().sqrt()
    assert spread.item() == pytest.approx(3, rel=1e-3)
    assert (density.sum(1) > 1e-3).sum() == 7


def test_an_empty_map_has_no_density() -> None:
    with pytest.raises(ValueError, match="without a fixation"):
        fixation_density(torch.zeros(5, 5), (1.0, 1.0))
