import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from deepsal.data.dataset import SaliencyDataset, Stimulus, fixation_density, rasterise_fixations


def stimulus(*points: tuple[float, float], name: str = "cat.png") -> Stimulus:
    fixations = np.array(points, dtype=np.float64).reshape(-1, 2)
    subjects = np.zeros(len(points), dtype=np.int64)
    return Stimulus(name, (6, 8), fixations, subjects, lambda: torch.zeros(3, 6, 8).byte())


@pytest.mark.parametrize("point", [(-0.6, 2), (7.5, 2), (1, -0.6), (1, 5.5), (6, 7)])
def test_a_fixation_off_the_image_names_data_set_image_and_point(
    point: tuple[float, float],
) -> None:
    named = re.escape(
        f"toy, image cat.png (8x6): 1 fixations lie off the image, first ({point[0]:g}, "
    )
    with pytest.raises(ValueError, match=named):
        SaliencyDataset("toy", [stimulus((1, 1), point)], {"train": [0]}, 1.0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_fixation_that_is_not_finite_names_its_image(value: float) -> None:
    with pytest.raises(ValueError, match=r"cat\.png .* non-finite"):
        SaliencyDataset("toy", [stimulus((1, 1), (value, 1))], {"train": [0]}, 1.0)


def test_an_image_without_fixation_is_named() -> None:
    with pytest.raises(ValueError, match=r"dog\.png .* no fixation"):
        SaliencyDataset("toy", [stimulus((1, 1)), stimulus(name="dog.png")], {"train": [0]}, 1.0)


@pytest.mark.parametrize("splits", [{"train": [0], "test": [0]}, {"train": [0, 1, 0]}])
def test_splits_must_not_overlap(splits: dict[str, list[int]]) -> None:
    with pytest.raises(ValueError, match="must not overlap"):
        SaliencyDataset("toy", [stimulus((1, 1)), stimulus((2, 2))], splits, 1.0)


def test_the_borders_of_the_image_belong_to_it() -> None:
    stimuli = [stimulus((-0.5, -0.5), (7.49, 5.49)), stimulus((1, 1), name="dog.png")]
    dataset = SaliencyDataset("toy", stimuli, {"train": [0, 1]}, 1.0)
    counts = dataset.other_images_counts("train", "dog.png", (6, 8))
    assert counts.nonzero().tolist() == [[0, 0], [5, 7]]


def test_an_image_of_another_size_than_stated_is_named() -> None:
    wrong = replace(stimulus((1, 1)), size=(8, 8))
    with pytest.raises(ValueError, match=r"cat\.png has .*\(6, 8\).* says \(8, 8\)"):
        wrong.read_checked()
    assert stimulus((1, 1)).read_checked().shape == (3, 6, 8)


def test_the_blur_is_the_images_own_or_that_of_the_data_set() -> None:
    stimuli = [stimulus((1, 1)), replace(stimulus((1, 1), name="dog.png"), sigma=4.0)]
    dataset = SaliencyDataset("toy", stimuli, {"train": [0, 1]}, 1.5)
    assert (dataset.sigma_of("cat.png"), dataset.sigma_of("dog.png")) == (1.5, 4.0)


def test_fixations_of_other_images_are_rescaled_and_all_there() -> None:
    def stimulus(name: str, size: tuple[int, int], points: list[list[float]]) -> Stimulus:
        fixations = np.array(points, dtype=np.float64)
        subjects = np.zeros(len(points), dtype=np.int64)
        return Stimulus(name, size, fixations, subjects, lambda: torch.zeros(3, *size).byte())

    stimuli = [
        stimulus("a", (10, 10), [[0.0, 0.0]]),
        stimulus("b", (20, 20), [[19.0, 0.0], [19.4, 19.4]]),
        stimulus("c", (10, 40), [[-0.5, 5.0]]),
    ]
    dataset = SaliencyDataset("three", stimuli, {"test": [0, 1, 2]}, sigma=1.0)
    counts = dataset.other_images_counts("test", "a", (10, 10))
    assert counts.nonzero().tolist() == [[0, 9], [5, 0], [9, 9]]
    assert counts.sum() == 3
    assert dataset.other_images_counts("test", "b", (10, 10)).nonzero().tolist() == [[0, 0], [5, 0]]
    one = dataset.other_images_counts("test", "a", (10, 10), images=1)
    assert one.sum() in (1, 2)
    assert torch.equal(one, dataset.other_images_counts("test", "a", (10, 10), images=1))
    alone = SaliencyDataset("one", stimuli, {"test": [0]}, sigma=1.0)
    assert alone.other_images_counts("test", "a", (4, 4)).sum() == 0


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
