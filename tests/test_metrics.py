import pytest
import torch
from torch import Tensor

from deepsal.metrics import SCORES, SaliencyMetrics, scores


def maps(count: int) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(count)
    log_density = torch.randn(count, 8, 9).flatten(1).log_softmax(1).view(count, 8, 9)
    fixations = torch.poisson(torch.full((count, 8, 9), 0.3))
    return log_density, fixations / fixations.sum((1, 2), keepdim=True), fixations


def test_the_mean_is_over_images_whatever_the_batches() -> None:
    everything = maps(7)
    metric = SaliencyMetrics(SCORES)
    for part in (slice(0, 5), slice(5, 7)):
        metric.update(*(m[part] for m in everything))
    found = metric.compute()
    for name, values in scores(*everything).items():
        assert found[name].item() == pytest.approx(values.mean().item(), abs=1e-6)


def test_ranks_may_hold_different_numbers_of_images_or_none() -> None:
    everything = maps(6)
    ranks = [SaliencyMetrics() for _ in range(3)]
    ranks[0].update(*(m[:5] for m in everything))
    ranks[1].update(*(m[5:] for m in everything))
    together = SaliencyMetrics()
    together.update(*everything)
    merged = SaliencyMetrics()
    for state in ("total", "count"):  # what dist_reduce_fx="sum" does
        setattr(merged, state, sum(getattr(rank, state) for rank in ranks))
    merged._update_count = 1
    for name, value in together.compute().items():
        assert merged.compute()[name].item() == pytest.approx(value.item(), abs=1e-9)


def test_images_without_a_score_are_left_out() -> None:
    log_density, density, fixations = maps(4)
    fixations[2] = 0
    metric = SaliencyMetrics(("nss",))
    metric.update(log_density, density, fixations)
    expected = scores(log_density, density, fixations, ("nss",))["nss"][[0, 1, 3]].mean()
    assert metric.compute()["nss"].item() == pytest.approx(expected.item(), abs=1e-6)


def test_an_unknown_score_lists_the_choices() -> None:
    with pytest.raises(ValueError, match=r"bleu.*kl.*nss"):
        scores(*maps(1), names=("bleu",))
