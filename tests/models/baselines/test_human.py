from dataclasses import replace

import numpy as np
import pytest
import torch

from deepsal.data.dataset import fixation_density, rasterise_fixations
from deepsal.metrics.functional import cc
from deepsal.metrics.scoring import ImageScorer
from deepsal.models import HumanCeiling
from deepsal.models.baselines.human import HUMAN_BANDWIDTHS
from tests.models.baselines.support import SIGMA, SIZE, ceiling_scores, dataset, planted, stimulus


def test_people_who_all_look_at_the_same_are_predicted_perfectly() -> None:
    same, other = (HumanCeiling().prepare(dataset(planted(spread))) for spread in (0.0, 12.0))
    perfect, loose = ceiling_scores(same), ceiling_scores(other)
    assert perfect["auc"] == pytest.approx(1, abs=0.01)
    assert ceiling_scores(HumanCeiling(1.0, 1e-6).prepare(dataset(planted(0.0))))["cc"] > 0.999
    assert ceiling_scores(HumanCeiling(1.0, 1e-6).prepare(dataset(planted(0.0))))["kl"] < 0.001
    assert all(perfect[key] > loose[key] for key in ("nss", "auc"))
    assert same.bandwidth == min(HUMAN_BANDWIDTHS)


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
    assert ceiling_scores(one) == ceiling_scores(other)


def test_nobody_is_predicted_by_their_own_fixations() -> None:
    # two people, each at a place of their own: the other's map is empty where one looks
    points = np.array([[10.0, 10.0]] * 5 + [[70.0, 50.0]] * 5)
    human = HumanCeiling(1.0, 0.001).prepare(
        dataset([*planted(4.0), stimulus("x", points, [0] * 5 + [1] * 5)])
    )
    scores = ceiling_scores(human, "x")
    assert scores["nss"] < 0
    assert scores["cc"] < 0.1


def test_a_ceiling_takes_two_people_and_known_images() -> None:
    alone = stimulus("alone", np.array([[5.0, 5.0]]), [0])
    human = HumanCeiling().prepare(dataset([alone, *planted(3.0)]))
    with pytest.raises(ValueError, match="the others, and alone has 1; score images that"):
        ceiling_scores(human, "alone")
    with pytest.raises(ValueError, match="knows no image 'missing'"):
        ceiling_scores(human, "missing")
    with pytest.raises(
        ValueError, match="a ceiling is fitted to training images that two people or more saw"
    ):
        HumanCeiling().prepare(dataset([alone, *planted(3.0, images=1)]))
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
