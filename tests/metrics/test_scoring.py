import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from deepsal.data import GroundTruth
from deepsal.metrics import functional, mit_benchmark
from deepsal.metrics.scoring import DEFAULT_SCORES, ImageScorer, MeanScores


def predictions(count: int) -> tuple[Tensor, GroundTruth]:
    torch.manual_seed(count)
    log_density = torch.randn(count, 8, 9).flatten(1).log_softmax(1).view(count, 8, 9)
    fixations = torch.poisson(torch.full((count, 8, 9), 0.3))
    return log_density, GroundTruth(fixations / fixations.sum((1, 2), keepdim=True), fixations)


def whole(count: int) -> tuple[Tensor, GroundTruth]:
    """Predictions and a truth with other images' fixations and a baseline."""
    log_density, truth = predictions(count)
    baseline, other = predictions(count + 1)
    return log_density, truth._replace(
        other_fixations=other.fixations[:-1], baseline_log_density=baseline[:-1]
    )


def part(of: tuple[Tensor, GroundTruth], images: slice) -> tuple[Tensor, GroundTruth]:
    maps = (None if values is None else values[images] for values in of[1][:4])
    return of[0][images], GroundTruth(*maps)  # type: ignore[arg-type]


def test_the_mean_is_over_images_whatever_the_batches() -> None:
    images = whole(7)
    metric = MeanScores(DEFAULT_SCORES)
    for batch in (slice(0, 5), slice(5, 7)):
        metric.update(*part(images, batch))
    means = metric.compute()
    for name, values in ImageScorer(names=DEFAULT_SCORES)(*images).items():
        assert means[name].item() == pytest.approx(values.mean().item(), abs=1e-6)


def test_ranks_may_hold_different_numbers_of_images_or_none() -> None:
    images = predictions(6)
    ranks = [MeanScores() for _ in range(3)]
    ranks[0].update(*part(images, slice(0, 5)))
    ranks[1].update(*part(images, slice(5, 6)))
    together = MeanScores()
    together.update(*images)
    merged = MeanScores()
    for state in ("total", "count"):  # what dist_reduce_fx="sum" does
        setattr(merged, state, sum(getattr(rank, state) for rank in ranks))
    merged._update_count = 1
    for name, value in together.compute().items():
        assert merged.compute()[name].item() == pytest.approx(value.item(), abs=1e-9)


def test_images_without_a_score_are_left_out() -> None:
    log_density, truth = predictions(4)
    truth.fixations[2] = 0
    metric = MeanScores(("nss",))
    metric.update(log_density, truth)
    expected = functional.nss(log_density, truth.fixations)[[0, 1, 3]].mean()
    assert metric.compute()["nss"].item() == pytest.approx(expected.item(), abs=1e-6)


def test_an_unknown_score_lists_the_choices() -> None:
    with pytest.raises(ValueError, match=r"bleu.*nss.*kl"):
        ImageScorer(names=("bleu",))


def test_shuffled_auc_and_information_gain_are_scored_where_their_inputs_are() -> None:
    log_density, truth = whole(3)
    assert set(ImageScorer()(*predictions(3))) == {"nss", "cc", "kl", "sim", "auc"}
    scores = ImageScorer()(log_density, truth)
    assert set(scores) == set(DEFAULT_SCORES)
    others, baseline = truth.other_fixations, truth.baseline_log_density
    assert others is not None
    assert baseline is not None
    expected = functional.sauc(log_density, truth.fixations, others)
    assert torch.equal(scores["sauc"], expected)
    expected = functional.information_gain(log_density, truth.fixations, baseline)
    assert torch.equal(scores["ig"], expected)
    with pytest.raises(ValueError, match=r"sauc needs fixations and other_fixations"):
        ImageScorer(names=("sauc",))(*predictions(3))


def test_the_older_protocol_has_its_own_definitions() -> None:
    log_density, truth = whole(3)
    old, new = (ImageScorer(p)(log_density, truth) for p in ("mit", "tuebingen"))
    assert set(old) == {*new, "borji"}
    assert torch.equal(old["auc"], mit_benchmark.auc_judd(log_density, truth.fixations))
    assert {name for name in new if not torch.equal(old[name], new[name])} == {
        "nss",
        "sim",
        "auc",
        "sauc",
    }


def test_the_earth_movers_distance_is_scored_only_on_request() -> None:
    images = predictions(2)
    assert "emd" not in ImageScorer()(*images)
    scores = ImageScorer(emd=True)(*images)
    assert set(scores) == {*ImageScorer()(*images), "emd"}
    metric = MeanScores(("emd",))
    metric.update(*images)
    assert metric.compute()["emd"].item() == pytest.approx(scores["emd"].mean().item())
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
    log_density, truth = whole(2)
    with pytest.raises(ValueError, match="sigma"):
        ImageScorer(maps="optimal")(log_density, truth)
    best = ImageScorer(maps="optimal")(log_density, truth._replace(sigma=1.0))
    plain = ImageScorer()(log_density, truth)
    assert torch.equal(best["nss"], plain["nss"])
    assert not torch.allclose(best["cc"], plain["cc"])


def _rank(rank: int, file: str, means: Any) -> None:
    torch.distributed.init_process_group("gloo", f"file://{file}", world_size=2, rank=rank)
    metric = MeanScores(DEFAULT_SCORES)
    if rank == 0:
        metric.update(*whole(4))
    means[rank] = [value.item() for value in metric.compute().values()]
    torch.distributed.destroy_process_group()


@pytest.mark.filterwarnings("ignore:The ``compute`` method")  # what the empty rank is about
def test_two_processes_of_which_one_has_no_image(tmp_path: Path) -> None:
    with torch.multiprocessing.Manager() as manager:
        means = manager.dict()
        spawn(_rank, (str(tmp_path / "meet"), means), nprocs=2)
        single = MeanScores(DEFAULT_SCORES)
        single.update(*whole(4))
        expected = [value.item() for value in single.compute().values()]
        assert means[0] == means[1] == pytest.approx(expected)
