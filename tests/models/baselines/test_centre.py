from dataclasses import replace

import numpy as np
import pytest
import torch

from deepsal.data import SaliencyDataset, Stimulus
from deepsal.models import Centre, Uniform
from deepsal.models.baselines.centre import CENTRE_BANDWIDTHS

SIZES = [(24, 32), (33, 71), (200, 120)]
SPLITS = {"train": range(20), "val": range(0), "test": range(0)}


def dataset(points: np.ndarray, images: int = 20, side: int = 400) -> SaliencyDataset:
    """Images that share out the points, which are fractions (x, y)."""
    inside = points[((points > 0) & (points < 1)).all(1)] * side - 0.5
    none = np.zeros(len(inside), dtype=np.int64)
    stimuli = [
        Stimulus(str(i), (side, side), inside[i::images], none[i::images], lambda: torch.empty(0))
        for i in range(images)
    ]
    return SaliencyDataset("planted", stimuli, SPLITS, sigma=10.0)


def around(x: float, y: float, bandwidth: float = 0.05) -> Centre:
    points = np.random.default_rng(0).normal((x, y), 0.01, (300, 2))
    return Centre(bandwidth, uniform_weight=0.0001).prepare(dataset(points))


@pytest.mark.parametrize("size", [None, *SIZES])
def test_chance_is_the_same_everywhere_and_sums_to_one(size: tuple[int, int] | None) -> None:
    log_density = Uniform()(torch.rand(2, 3, 10, 14), size)
    assert log_density.shape == (2, *(size or (10, 14)))
    assert log_density.unique().numel() == 1
    assert log_density[1].double().exp().sum().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("size", [None, *SIZES])
def test_the_centre_prior_sums_to_one(size: tuple[int, int] | None) -> None:
    log_density = around(0.3, 0.6)(torch.rand(2, 3, 10, 14), size)
    assert log_density.shape == (2, *(size or (10, 14)))
    assert log_density.isfinite().all()
    assert log_density[1].double().exp().sum().item() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("x", "y"), [(0.8, 0.3), (0.25, 0.25), (0.5, 0.9)])
def test_the_centre_prior_peaks_where_people_looked(
    x: float, y: float, size: tuple[int, int]
) -> None:
    log_density = around(x, y)(torch.rand(1, 3, 8, 8), size)[0]
    row, column = np.unravel_index(int(log_density.argmax()), size)
    assert (row + 0.5) / size[0] == pytest.approx(y, abs=0.03)
    assert (column + 0.5) / size[1] == pytest.approx(x, abs=0.03)


def test_the_centre_prior_is_a_gaussian_around_every_fixation() -> None:
    points = np.full((20, 2), 0.5 + 1e-6)
    log_density = Centre(0.1, uniform_weight=0.0).prepare(dataset(points))(
        torch.rand(1, 3, 64, 64)
    )[0]
    at = (torch.arange(64) + 0.5) / 64 - 0.5 - 0.5 / 64
    for axis in (0, 1):
        spread = (log_density.exp().sum(axis) * at.square()).sum().sqrt()
        assert spread.item() == pytest.approx(0.1, rel=1e-3)


@pytest.mark.parametrize("kernel", [0.02, 0.057])
def test_the_planted_bandwidth_is_recovered_and_a_uniform_part_is_seen(kernel: float) -> None:
    random = np.random.default_rng(1)
    places = random.uniform(0.2, 0.8, (12, 2))
    looked = places[random.integers(12, size=6000)] + random.normal(0, kernel, (6000, 2))
    anywhere = random.uniform(0, 1, (600, 2))
    prior = Centre().prepare(dataset(np.concatenate([looked, anywhere])[random.permutation(6600)]))
    assert prior.bandwidth is not None
    # a kernel density of samples of a Gaussian is best a good deal narrower than the Gaussian
    assert kernel / 4 <= prior.bandwidth < kernel
    assert prior.uniform_weight is not None
    assert prior.uniform_weight >= 0.01
    without = Centre().prepare(dataset(looked)).uniform_weight
    assert without is not None
    assert without <= 0.001


def test_the_likelihood_is_of_images_left_out() -> None:
    # in each image everybody looks at a place of its own: only the image itself predicts it
    points = np.repeat(np.random.default_rng(2).uniform(0.05, 0.95, (20, 2)), 40, axis=0)
    scattered = points.reshape(20, 40, 2).transpose(1, 0, 2).reshape(-1, 2)
    prior = Centre().prepare(dataset(scattered))
    assert prior.bandwidth == max(CENTRE_BANDWIDTHS)


def test_a_training_image_does_not_predict_itself() -> None:
    points = np.concatenate([[[0.1, 0.1]], np.full((19, 2), 0.8)])
    prior = Centre(0.05, uniform_weight=0.0001).prepare(dataset(points))
    first, other, new = (
        prior(torch.rand(1, 3, 50, 50), (50, 50), [name])[0, 5, 5] for name in ("0", "1", "new")
    )
    assert first < new < other
    assert first.exp().item() == pytest.approx(0.0001 / 2500, rel=0.05)


def test_the_centre_prior_is_the_same_for_every_image() -> None:
    prior = around(0.4, 0.6)
    first, second = prior(torch.stack([torch.zeros(3, 16, 16), torch.rand(3, 16, 16)]))
    assert torch.equal(first, second)
    assert torch.equal(first, prior(torch.rand(1, 3, 16, 16))[0])


@pytest.mark.parametrize("side", [32, 50, 64])
@pytest.mark.parametrize("bandwidth", [0.01, 0.02, 0.5])
def test_a_narrow_or_wide_kernel_gives_a_density_as_well(bandwidth: float, side: int) -> None:
    log_density = around(0.1, 0.1, bandwidth)(torch.rand(1, 3, side, side))
    assert not log_density.isnan().any()
    assert log_density.double().exp().sum().item() == pytest.approx(1, abs=1e-4)


def test_without_training_images_the_other_test_images_are_the_prior() -> None:
    data = dataset(np.random.default_rng(0).normal(0.5, 0.1, (200, 2)), images=4)
    alone = replace(data, splits={"train": [], "val": [], "test": range(4)})
    centre = Centre().prepare(alone)
    assert centre.settings()["images"] == "4 other test images"
    others = Centre(centre.bandwidth, centre.uniform_weight).prepare(
        replace(data, splits={"train": [1, 2, 3], "val": [], "test": []})
    )
    assert torch.allclose(centre.density_grid("0"), others.density_grid())
    with pytest.raises(ValueError, match="needs training fixations"):
        Centre().prepare(replace(data, splits={"train": [], "val": [], "test": [0]}))


def test_settings_name_data_bandwidth_and_fixations() -> None:
    points = np.random.default_rng(0).normal(0.5, 0.1, (200, 2))
    one, other = (Centre(0.05, 0.01).prepare(dataset(p)) for p in (points, points[1:]))
    assert one.settings() | {"fixations": ""} == {
        "dataset": "planted",
        "images": "20 training images",
        "bandwidth": 0.05,
        "uniform_weight": 0.01,
        "fixations": "",
    }
    assert one.settings() == Centre(0.05, 0.01).prepare(dataset(points)).settings()
    assert one.settings()["fixations"] != other.settings()["fixations"]
