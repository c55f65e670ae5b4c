import pytest
import torch
from torch import Tensor

from deepsal.models import GBVS
from deepsal.models.baselines.gbvs import (
    FEATURE_FLOOR,
    activation_equilibrium,
    normalisation_equilibrium,
)


def iterated(weights: Tensor, steps: int = 3000) -> Tensor:
    """The equilibrium of a walk with these weights (from row to column), step by step."""
    step = weights / weights.sum(1, keepdim=True)
    at = torch.full((len(weights),), 1 / len(weights), dtype=weights.dtype)
    for _ in range(steps):
        at = at @ (0.5 * step + 0.5 * torch.eye(len(at), dtype=at.dtype))  # lazy: never periodic
    return at


@pytest.fixture
def near() -> Tensor:
    at = torch.arange(12.0, dtype=torch.float64)
    return torch.exp(-(at[:, None] - at).square() / 18)


def test_the_activation_is_the_equilibrium_of_the_walk_in_the_paper(near: Tensor) -> None:
    torch.manual_seed(0)
    feature = torch.rand(12, dtype=torch.float64)
    feature = (feature - feature.min()) / (feature.max() - feature.min())
    log = (feature + FEATURE_FLOOR).log()
    expected = iterated((log[:, None] - log).abs() * near)
    torch.testing.assert_close(activation_equilibrium(3 * feature + 1, near), expected)


def test_the_normalisation_is_the_equilibrium_of_the_walk_in_the_paper(near: Tensor) -> None:
    torch.manual_seed(1)
    mass = torch.rand(12, dtype=torch.float64)
    torch.testing.assert_close(normalisation_equilibrium(mass, near), iterated(mass * near))


def test_mass_gathers_where_a_map_is_different(near: Tensor) -> None:
    feature = torch.zeros(12, dtype=torch.float64)
    feature[7] = 1
    active = activation_equilibrium(feature, near)
    assert active.argmax() == 7
    assert normalisation_equilibrium(active, near).max() > active.max()
    assert activation_equilibrium(torch.ones(12, dtype=torch.float64), near).unique().numel() == 1


def test_the_output_is_a_log_density_of_any_size_from_any_size() -> None:
    torch.manual_seed(0)
    for shape, size in (((96, 128), None), ((70, 50), (33, 71))):
        log_density = GBVS(cells=12)(torch.rand(2, 3, *shape), size)
        assert log_density.shape == (2, *(size or shape))
        assert log_density.exp().sum((1, 2)).allclose(torch.ones(2), atol=1e-4)


def test_the_graph_prefers_the_middle_of_an_image_without_contrast() -> None:
    log_density = GBVS()(torch.full((1, 3, 48, 64), 0.5))[0]
    assert log_density[24, 32] > log_density[0, 0]
