import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from deepsal.metrics import functional, mit_benchmark
from deepsal.metrics.scoring import DEFAULT_SCORES, ImageScorer, MeanScores, score_images


def maps(count: int) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(count)
    log_density = torch.randn(count, 8, 9).flatten(1).log_softmax(1).view(count, 8, 9)
    fixations = torch.poisson(torch.full((count, 8, 9), 0.3))
    return log_density, fixations / fixations.sum((1, 2), keepdim=True), fixations


def others_and_baseline(count: int) -> tuple[Tensor, Tensor]:
    log_density, _, fixations = maps(count + 1)
    return fixations[:-1], log_density[:-1]


def test_the_mean_is_over_images_whatever_the_batches() -> None:
    everything, more = maps(7), others_and_baseline(7)
    metric = MeanScores(DEFAULT_SCORES)
    for part in (slice(0, 5), slice(5, 7)):
        metric.update(*(m[part] for m in (*everything, *more)))
    found = metric.compute()
    for name, values in score_images(*everything, DEFAULT_SCORES, *more).items():
        assert found[name].item() == pytest.approx(values.mean().item(), abs=1e-6)


def test_ranks_may_hold_different_numbers_of_images_or_none() -> None:
    everything = maps(6)
    ranks = [MeanScores() for _ in range(3)]
    ranks[0].update(*(m[:5] for m in everything))
    ranks[1].update(*(m[5:] for m in everything))
    together = MeanScores()
    together.update(*everything)
    merged = MeanScores()
    for state in ("total", "count"):  # what dist_reduce_fx="sum" does
        setattr(merged, state, sum(getattr(rank, state) for rank in ranks))
    merged._update_count = 1
    for name, value in together.compute().items():
        assert merged.compute()[name].item() == pytest.approx(value.item(), abs=1e-9)


def test_images_without_a_score_are_left_out() -> None:
    log_density, density, fixations = maps(4)
    fixations[2] = 0
    metric = MeanScores(("nss",))
    metric.update(log_density, density, fixations)
    expected = score_images(log_density, density, fixations, ("nss",))["nss"][[0, 1, 3]].mean()
    assert metric.compute()["nss"].item() == pytest.approx(expected.item(), abs=1e-6)


def test_an_unknown_score_lists_the_choices() -> None:
    with pytest.raises(ValueError, match=r"bleu.*nss.*kl"):
        score_images(*maps(1), names=("bleu",))


def test_shuffled_auc_and_information_gain_are_scored_where_their_inputs_are() -> None:
    everything, (others, baseline) = maps(3), others_and_baseline(3)
    assert set(score_images(*everything)) == {"nss", "cc", "kl", "sim", "auc"}
    found = score_images(*everything, None, others, baseline)
    assert set(found) == set(DEFAULT_SCORES)
    expected = functional.sauc(everything[0], everything[2], others)
    assert torch.equal(found["sauc"], expected)
    expected = functional.information_gain(everything[0], everything[2], baseline)
    assert torch.equal(found["ig"], expected)
    with pytest.raises(ValueError, match=r"sauc.*others"):
        score_images(*everything, names=("sauc",))


def test_the_older_protocol_has_its_own_definitions() -> None:
    everything, more = maps(3), others_and_baseline(3)
    old, new = (ImageScorer(p)(*everything, *more) for p in ("mit", "tuebingen"))
    assert set(old) == {*new, "borji"}
    assert torch.equal(old["auc"], mit_benchmark.auc_judd(everything[0], everything[2]))
    assert {name for name in new if not torch.equal(old[name], new[name])} == {
        "nss",
        "sim",
        "auc",
        "sauc",
    }


def test_the_earth_movers_distance_is_scored_only_when_asked_for() -> None:
    everything = maps(2)
    assert "emd" not in ImageScorer()(*everything)
    asked = ImageScorer(emd=True)(*everything)
    assert set(asked) == {*ImageScorer()(*everything), "emd"}
    metric = MeanScores(("emd",))
    metric.update(*everything)
    assert metric.compute()["emd"].item() == pytest.approx(asked["emd"].mean().item())
    with pytest.raises(ValueError, match="emd has no optimal map"):
        ImageScorer(maps="optimal", emd=True)


def test_without_its_package_the_earth_movers_distance_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "ot", None)
    with pytest.raises(ImportError, match="POT"):
        ImageScorer(emd=True)


@pytest.mark.parametrize("option", ["protocol", "maps"])
def test_a_wrong_option_lists_the_choices(option: str) -> None:
    with pytest.raises(ValueError, match=rf"score.{option}=none.*\["):
        ImageScorer(**{option: "none"})  # type: ignore[arg-type]


def test_optimal_maps_need_the_truths_blur_and_leave_the_density_to_nss() -> None:
    everything, more = maps(2), others_and_baseline(2)
    with pytest.raises(ValueError, match="sigma"):
        ImageScorer(maps="optimal")(*everything, *more)
    best = ImageScorer(maps="optimal")(*everything, *more, sigma=1.0)
    plain = ImageScorer()(*everything, *more)
    assert torch.equal(best["nss"], plain["nss"])
    assert not torch.allclose(best["cc"], plain["cc"])


def _rank(rank: int, file: str, found: Any) -> None:
    torch.distributed.init_process_group("gloo", f"file://{file}", world_size=2, rank=rank)
    everything, more = maps(4), others_and_baseline(4)
    metric = MeanScores(DEFAULT_SCORES)
    if rank == 0:
        metric.update(*everything, *more)
    found[rank] = [value.item() for value in metric.compute().values()]
    torch.distributed.destroy_process_group()


@pytest.mark.filterwarnings("ignore:The ``compute`` method")  # what the empty rank is about
def test_two_processes_of_which_one_has_no_image(tmp_path: Path) -> None:
    with torch.multiprocessing.Manager() as manager:
        found = manager.dict()
        spawn(_rank, (str(tmp_path / "meet"), found), nprocs=2)
        single = MeanScores(DEFAULT_SCORES)
        single.update(*maps(4), *others_and_baseline(4))
        expected = [value.item() for value in single.compute().values()]
        assert found[0] == found[1] == pytest.approx(expected)
