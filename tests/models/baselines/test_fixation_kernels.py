import pytest
import torch
from torch import Tensor

from deepsal.models.baselines.fixation_kernels import (
    BANDWIDTH_FACTORS,
    adaptive_bandwidths,
    fit_mixture_weights,
    held_out_densities,
    mass_inside,
    mixture_map,
)

EXTENT = torch.tensor([80.0, 60.0], dtype=torch.float64)


def random_points(count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 2, dtype=torch.float64, generator=generator) * EXTENT - 0.5


def observers(*counts: int) -> Tensor:
    return torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))


def everyone(count: int) -> Tensor:
    return torch.ones(1, count, dtype=torch.bool)


def test_half_a_gaussian_on_a_border_and_a_quarter_in_a_corner_lie_inside() -> None:
    points = torch.tensor([[39.5, 29.5], [-0.5, 29.5], [-0.5, -0.5]], dtype=torch.float64)
    inside = mass_inside(points, torch.full((3,), 2.0, dtype=torch.float64), EXTENT)
    assert inside.tolist() == pytest.approx([1, 0.5, 0.25])


def test_bandwidths_are_small_where_fixations_are_dense() -> None:
    dense = torch.randn(20, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    points = torch.cat([dense + 30, torch.tensor([[70.0, 5.0]], dtype=torch.float64)])
    (sd,) = adaptive_bandwidths(points, everyone(21), 4.0)
    assert sd[:20].max() < 4 < sd[20]
    assert sd.log().mean().exp() == pytest.approx(4, rel=1e-6), "the geometric mean is the common"
    assert sd[20] / 4 <= BANDWIDTH_FACTORS[1]


def test_fixations_on_one_place_have_the_common_bandwidth() -> None:
    points = torch.full((5, 2), 9.0, dtype=torch.float64)
    assert adaptive_bandwidths(points, everyone(5), 3.0).tolist()[0] == pytest.approx([3.0] * 5)


def test_fixations_outside_a_set_do_not_change_its_bandwidths() -> None:
    points, moved = random_points(12), random_points(12)
    moved[8:] = random_points(4, seed=1)
    members = (torch.arange(12) < 8)[None]
    first, second = (adaptive_bandwidths(p, members, 5.0)[:, :8] for p in (points, moved))
    assert torch.equal(first, second)


def test_a_held_out_density_is_that_of_the_other_members_alone() -> None:
    points, own = random_points(9), observers(3, 3, 3)
    predicting = own != 2
    (densities,) = held_out_densities(points, own, predicting[None], EXTENT, [5.0])
    for n, person in ((0, 0), (4, 1), (8, 2)):
        others = points[predicting & (own != person)]
        sd = adaptive_bandwidths(others, everyone(len(others)), 5.0)[0]
        squared = (others - points[n]).square().sum(1)
        height = torch.exp(-squared / (2 * sd**2)) / (2 * torch.pi * sd**2)
        expected = height.sum() / mass_inside(others, sd, EXTENT).sum()
        assert densities[n, 0] == pytest.approx(expected.item(), rel=1e-6)


def test_a_density_that_nobody_else_predicts_is_nan() -> None:
    points, own = random_points(3), observers(1, 2)
    densities = held_out_densities(points, own, (own == 1)[None], EXTENT, [5.0, 9.0])
    assert densities.isnan().all(-1).tolist() == [[False, True, True]]


def test_a_map_has_the_density_at_the_fixations_and_sums_to_the_weights() -> None:
    points, own = random_points(12).round(), observers(4, 8)
    points = points.clamp(torch.zeros(2), EXTENT - 1)
    first = own == 0
    bandwidths = [4.0, 9.0]
    densities = held_out_densities(points, own, first[None], EXTENT, bandwidths)[0, 4:]
    sd = torch.stack([adaptive_bandwidths(points, first[None], h)[0, :4] for h in bandwidths])
    weights = torch.tensor([0.5, 0.3], dtype=torch.float64)
    density = mixture_map(points[:4], sd[..., None].expand(-1, -1, 2), weights, (60, 80))
    assert density.sum().item() == pytest.approx(0.8, abs=1e-5)
    column, row = points[4:].long().T
    torch.testing.assert_close(
        density[row, column], (densities @ weights).float(), rtol=0.02, atol=1e-6
    )


def test_the_weights_of_known_densities_are_recovered() -> None:
    generator = torch.Generator().manual_seed(0)
    planted = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)
    cells = torch.tensor([[8.0, 1, 1], [1, 8, 1], [1, 1, 8]], dtype=torch.float64) / 10
    drawn = torch.multinomial(planted @ cells, 20_000, replacement=True, generator=generator)
    weights = fit_mixture_weights(
        cells[:, drawn].T[None], everyone(20_000), torch.full((3,), 1 / 3).double(), 1e-3
    )
    assert weights[0].tolist() == pytest.approx(planted.tolist(), abs=0.03)


def test_no_step_of_em_lowers_the_penalised_likelihood() -> None:
    generator = torch.Generator().manual_seed(0)
    densities = torch.rand(2, 30, 4, dtype=torch.float64, generator=generator) ** 4
    counted = torch.rand(2, 30, generator=generator) < 0.7
    prior = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)

    def likelihood(weights: Tensor) -> Tensor:
        mixed = (densities @ weights[..., None])[..., 0].log()
        return (mixed * counted).sum(1) + 5 * (prior * weights.log()).sum(1)

    steps = [fit_mixture_weights(densities, counted, prior, 5.0, steps=n) for n in range(60)]
    values = torch.stack([likelihood(weights) for weights in steps])
    assert (values.diff(dim=0) > -1e-10).all()
    assert (values[-1] > values[0] + 0.1).all()
    best = fit_mixture_weights(densities, counted, prior, 5.0)
    for other in torch.distributions.Dirichlet(torch.ones(4).double()).sample((50,)):
        assert (likelihood(other.expand(2, 4)) <= likelihood(best) + 1e-6).all(), "the maximum"


def test_what_is_not_counted_is_not_read() -> None:
    densities = torch.full((2, 3, 2), torch.nan, dtype=torch.float64)
    densities[0, 0] = torch.tensor([1.0, 0.0])
    counted = torch.zeros(2, 3, dtype=torch.bool)
    counted[0, 0] = True
    prior = torch.tensor([0.25, 0.75], dtype=torch.float64)
    weights = fit_mixture_weights(densities, counted, prior, 1.0)
    assert weights[0].tolist() == pytest.approx([0.625, 0.375], abs=1e-4)
    assert weights[1].tolist() == [0.25, 0.75], "without a fixation: the prior"
