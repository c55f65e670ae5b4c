import pytest
import torch

from deepsal.metrics.functional import auc, cc, nss
from deepsal.models import Centre, Uniform
from deepsal.models.baselines.baseline import to_log_density


def test_a_baseline_learns_nothing_and_says_what_it_lacks() -> None:
    assert not list(Centre().parameters())
    with pytest.raises(ValueError, match=r"call prepare\(dataset\) first"):
        Centre()(torch.rand(1, 3, 8, 8))
    with pytest.raises(ValueError, match=r"Uniform is a baseline.*do=\[test\]"):
        _ = Uniform().backbone


@pytest.mark.parametrize("floor", [0.0, 1e-7, 1 / 510])
def test_the_scores_of_a_saliency_map_are_those_of_its_density(floor: float) -> None:
    torch.manual_seed(0)
    saliency = torch.rand(2, 30, 40).square()
    log_density = to_log_density(saliency, (30, 40), floor)
    counts, truth = torch.bernoulli(torch.full((2, 30, 40), 0.1)), torch.rand(2, 30, 40)
    truth = truth / truth.sum((1, 2), keepdim=True)
    raw = (saliency + 1e-30).log()
    for score, against in ((nss, counts), (auc, counts), (cc, truth)):
        torch.testing.assert_close(
            score(log_density, against), score(raw, against), atol=1e-5, rtol=0
        )
    assert log_density.double().exp().sum((1, 2)).allclose(torch.ones(2).double(), atol=1e-5)


def test_a_map_of_zeros_is_the_uniform_density() -> None:
    log_density = to_log_density(torch.zeros(1, 4, 5), (8, 10))
    assert log_density.exp().allclose(torch.tensor(1 / 80))
