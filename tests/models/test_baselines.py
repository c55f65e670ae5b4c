import numpy as np
import pytest
import torch

from deepsal.models import Centre, Uniform

SIZES = [(24, 32), (33, 71), (200, 120)]


def around(x: float, y: float) -> Centre:
    points = np.random.default_rng(0).normal((x, y), 0.01, (300, 2))
    return Centre(points, bandwidth=0.05)


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
    log_density = Centre(np.array([[0.5, 0.5]]), bandwidth=0.1)(torch.rand(1, 3, 64, 64))[0]
    at = (torch.arange(64) + 0.5) / 64 - 0.5
    for axis in (0, 1):
        spread = (log_density.exp().sum(axis) * at.square()).sum().sqrt()
        assert spread.item() == pytest.approx(0.1, rel=1e-3)


def test_the_centre_prior_is_the_same_for_every_image() -> None:
    prior = around(0.4, 0.6)
    first, second = prior(torch.stack([torch.zeros(3, 16, 16), torch.rand(3, 16, 16)]))
    assert torch.equal(first, second)
    assert torch.equal(first, prior(torch.rand(1, 3, 16, 16))[0])


@pytest.mark.parametrize("side", [32, 50, 64])
@pytest.mark.parametrize("bandwidth", [0.01, 0.02, 0.5])
def test_a_narrow_or_wide_kernel_gives_a_density_as_well(bandwidth: float, side: int) -> None:
    log_density = Centre(np.array([[0.1, 0.1]]), bandwidth)(torch.rand(1, 3, side, side))
    assert not log_density.isnan().any()
    assert log_density.double().exp().sum().item() == pytest.approx(1, abs=1e-4)


def test_a_baseline_learns_nothing_and_is_saved() -> None:
    prior = around(0.4, 0.6)
    assert not list(prior.parameters())
    other = around(0.8, 0.1)
    other.load_state_dict(prior.state_dict())
    assert torch.equal(other(torch.rand(1, 3, 9, 9)), prior(torch.rand(1, 3, 9, 9)))
