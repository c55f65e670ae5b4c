from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from deepsal.data import GroundTruth, SaliencyDataset, Stimulus
from deepsal.data.dataset import fixation_density, rasterise_fixations
from deepsal.metrics.functional import cc
from deepsal.metrics.scoring import ImageScorer
from deepsal.models import HumanCeiling
from deepsal.models.baselines import human as human_module
from deepsal.models.baselines.human import HUMAN_BANDWIDTHS

SIZE = (60, 80)
SIGMA = 4.0


def stimulus(name: str, fixations: NDArray[np.float64], observers: ArrayLike) -> Stimulus:
    who = np.asarray(observers, dtype=np.int64)
    return Stimulus(name, SIZE, fixations, who, lambda: torch.empty(0))


def dataset(stimuli: Sequence[Stimulus]) -> SaliencyDataset:
    last = len(stimuli) - 1
    splits = {"train": range(last), "val": range(0), "test": [last]}
    return SaliencyDataset("planted", stimuli, splits, sigma=SIGMA)


def planted(spread: float, people: int = 6, images: int = 12) -> list[Stimulus]:
    """Everybody looks at the same three places of an image, give or take `spread` pixels."""
    random = np.random.default_rng(0)
    stimuli = []
    for i in range(images):
        places = random.integers(10, 50, (3, 2))
        points = np.tile(places, (people, 1)) + random.normal(0, spread, (3 * people, 2))
        stimuli.append(stimulus(str(i), points.clip(0, 59), np.repeat(np.arange(people), 3)))
    return stimuli


def ceiling(human: HumanCeiling, name: str = "11") -> dict[str, float]:
    scores = human.score_ceiling([name], SIZE, ImageScorer())
    return {key: value.item() for key, value in scores.items()}


def test_people_who_all_look_at_the_same_are_predicted_perfectly() -> None:
    same, other = (HumanCeiling().prepare(dataset(planted(spread))) for spread in (0.0, 12.0))
    perfect, loose = ceiling(same), ceiling(other)
    assert perfect["auc"] == pytest.approx(1, abs=0.01)
    assert ceiling(HumanCeiling(1.0, 1e-6).prepare(dataset(planted(0.0))))["cc"] > 0.999
    assert ceiling(HumanCeiling(1.0, 1e-6).prepare(dataset(planted(0.0))))["kl"] < 0.001
    assert all(perfect[key] > loose[key] for key in ("nss", "auc"))
    assert same.bandwidth == min(HUMAN_BANDWIDTHS)


def test_many_observers_are_scored_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = HumanCeiling(1.0, 0.1).prepare(dataset(planted(4.0, people=7)))
    together, counts = ceiling(prepared), []

    def score(log_density: Tensor, truth: GroundTruth) -> dict[str, Tensor]:
        counts.append(len(log_density))
        return dict(ImageScorer()(log_density, truth))

    monkeypatch.setattr(human_module, "MAX_VALUES", 3 * SIZE[0] * SIZE[1])
    parts = prepared.score_ceiling(["11"], SIZE, score)
    assert counts == [3, 3, 1, 2], "observers, then the two halves"
    assert {key: value.item() for key, value in parts.items()} == together


@pytest.mark.parametrize("spread", [2.0, 4.0])
def test_the_planted_spread_is_recovered(spread: float) -> None:
    human = HumanCeiling().prepare(dataset(planted(spread, people=30, images=20)))
    assert human.bandwidth is not None
    assert spread / 2 <= human.bandwidth * SIGMA <= spread


def test_an_images_own_blur_is_the_one_that_counts() -> None:
    plain = dataset(planted(4.0))
    own = replace(plain, stimuli=[replace(s, sigma=SIGMA) for s in plain.stimuli], sigma=50.0)
    one, other = HumanCeiling().prepare(plain), HumanCeiling().prepare(own)
    assert one.bandwidth == other.bandwidth
    assert ceiling(one) == ceiling(other)


def test_nobody_is_predicted_by_their_own_fixations() -> None:
    # two people, each at a place of their own: the other's map is empty where one looks
    points = np.array([[10.0, 10.0]] * 5 + [[70.0, 50.0]] * 5)
    human = HumanCeiling(1.0, 0.001).prepare(
        dataset([*planted(4.0), stimulus("x", points, [0] * 5 + [1] * 5)])
    )
    scores = ceiling(human, "x")
    assert scores["nss"] < 0
    assert scores["cc"] < 0.1


def test_the_mean_over_fixations_is_weighted_by_how_many_a_person_made() -> None:
    points = np.array([[20.0, 20.0]] * 3 + [[22.0, 20.0]] + [[60.0, 40.0]])
    human = HumanCeiling(1.0, 0.1).prepare(
        dataset([*planted(4.0), stimulus("x", points, [0, 0, 0, 1, 2])])
    )
    counts: list[Tensor] = []

    def score(log_density: Tensor, truth: GroundTruth) -> dict[str, Tensor]:
        counts.append(truth.fixations.sum((1, 2)))
        return {"nss": torch.arange(1.0, 1 + len(log_density)), "cc": torch.zeros(len(log_density))}

    scores = human.score_ceiling(["x"], SIZE, score)
    assert [count.tolist() for count in counts] == [[3, 1, 1], [4, 1]]
    assert scores["nss"].item() == pytest.approx((3 * 1 + 1 * 2 + 1 * 3) / 5)


def test_the_truth_of_a_half_is_the_data_modules_own() -> None:
    human = HumanCeiling().prepare(dataset(planted(3.0)))
    one = human.stimuli["11"]
    odd = torch.from_numpy(one.observers % 2 == 1)
    truths: list[GroundTruth] = []

    def score(log_density: Tensor, truth: GroundTruth) -> dict[str, Tensor]:
        truths.append(truth)
        assert log_density.exp().sum((1, 2)).allclose(torch.ones(len(log_density)), atol=1e-4)
        return {"cc": torch.zeros(len(log_density))}

    human.score_ceiling(["11"], SIZE, score)
    counts = rasterise_fixations(torch.from_numpy(one.fixations)[odd], SIZE, SIZE)
    density, fixations = truths[1].density[1], truths[1].fixations[1]
    assert torch.equal(fixations, counts)
    torch.testing.assert_close(
        density, fixation_density(counts, (SIGMA, SIGMA)), atol=1e-6, rtol=1e-4
    )


def test_a_ceiling_takes_two_people_and_known_images() -> None:
    alone = stimulus("alone", np.array([[5.0, 5.0]]), [0])
    human = HumanCeiling().prepare(dataset([*planted(3.0), alone]))
    with pytest.raises(ValueError, match="alone was seen by 1 person; a ceiling takes two"):
        ceiling(human, "alone")
    with pytest.raises(ValueError, match="knows no image 'missing'"):
        ceiling(human, "missing")
    with pytest.raises(ValueError, match="no training image was seen by two people"):
        HumanCeiling().prepare(dataset([alone, alone]))
    with pytest.raises(ValueError, match="name="):
        human(torch.rand(1, 3, 8, 8))


def test_as_a_network_it_is_the_density_of_everyone() -> None:
    human = HumanCeiling(1.0, 1e-6).prepare(dataset(planted(3.0)))
    log_density = human(torch.rand(1, 3, 8, 8), SIZE, ["11"])
    counts = rasterise_fixations(torch.from_numpy(human.stimuli["11"].fixations), SIZE, SIZE)
    assert cc(log_density, fixation_density(counts, (SIGMA, SIGMA))[None]) > 0.99


@pytest.mark.parametrize("size", [(30, 40), (33, 71)])
def test_it_is_scored_at_any_size(size: tuple[int, int]) -> None:
    human = HumanCeiling().prepare(dataset(planted(3.0)))
    scores = human.score_ceiling(["11"], size, ImageScorer())
    assert scores["nss"].item() > 1
    assert scores["auc"].item() > 0.8
