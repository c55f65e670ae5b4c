from dataclasses import replace

import numpy as np
import pytest
import torch

from deepsal.metrics.scoring import ImageScorer
from deepsal.models import HumanCeiling, MixtureCeiling
from deepsal.models.baselines.mixture_ceiling import CONCENTRATIONS, MIXTURE_BANDWIDTHS
from tests.models.baselines.support import (
    SIZE,
    ceiling_scores,
    dataset,
    log_likelihoods,
    planted,
    stimulus,
)


def prepared(spread: float | list[float], people: int = 8) -> MixtureCeiling:
    return MixtureCeiling().prepare(dataset(planted(spread, people, images=24), test=8))


def test_images_of_different_spread_are_predicted_better_than_by_one_kernel() -> None:
    images = dataset(planted([0.8, 8.0], people=8, images=24), test=8)
    mixture, human = MixtureCeiling().prepare(images), HumanCeiling().prepare(images)
    gain = log_likelihoods(mixture) - log_likelihoods(human)
    assert gain.mean() > 0.15
    assert (gain > 0).sum() >= 7


def test_images_of_one_spread_are_predicted_about_as_well_as_by_one_kernel() -> None:
    images = dataset(planted(3.0, people=8, images=24), test=8)
    mixture, human = MixtureCeiling().prepare(images), HumanCeiling().prepare(images)
    gain = log_likelihoods(mixture) - log_likelihoods(human)
    assert abs(gain.mean()) < 0.1


def test_the_weights_follow_the_spread_of_an_image() -> None:
    images = dataset(planted([0.8, 8.0], people=8, images=24), test=8)
    mixture, shared = (MixtureCeiling(concentration=c).prepare(images) for c in (None, 1e6))
    weights = mixture.settings()["image_weights"]
    narrow, wide = (weights[name]["kernel 0.35"] for name in ("22", "23"))
    assert narrow > 2 * wide
    assert mixture.concentration in CONCENTRATIONS
    gain = log_likelihoods(mixture) - log_likelihoods(shared)
    assert gain.mean() > 0.02
    assert (gain > 0).sum() >= 7


@pytest.mark.parametrize("person", range(4))
def test_nothing_that_predicts_a_person_depends_on_that_persons_fixations(person: int) -> None:
    mixture = MixtureCeiling().prepare(dataset(planted([1.0, 6.0], people=4)))
    one = mixture.stimuli["11"]
    own = one.observers == person
    moved = replace(one, fixations=np.where(own[:, None], [[77.0, 3.0]], one.fixations))
    held_out = torch.from_numpy(one.observers) == torch.arange(4)[:, None]
    before, after = (mixture.densities(s, ~held_out, SIZE) for s in (one, moved))
    assert torch.equal(before[person], after[person])
    others = torch.arange(4) != person
    assert (before[others] != after[others]).flatten(1).any(1).all()
    weights = [mixture.fit_weights(s, ~held_out) for s in (one, moved)]
    assert torch.equal(weights[0][person], weights[1][person])
    assert not torch.equal(weights[0][others], weights[1][others])


def test_half_of_the_people_is_predicted_by_the_other_half_alone() -> None:
    mixture = MixtureCeiling().prepare(dataset(planted([1.0, 6.0], people=4)))
    one = mixture.stimuli["11"]
    even = one.observers % 2 == 0
    moved = replace(one, fixations=np.where(even[:, None], [[77.0, 3.0]], one.fixations))
    odd = torch.from_numpy(~even)[None]
    assert torch.equal(*(mixture.densities(s, odd, SIZE) for s in (one, moved)))


@pytest.mark.parametrize("places", [[[10.0, 10.0], [70.0, 50.0]], [[10.0, 10.0]] * 2])
def test_two_people_with_a_fixation_each_have_the_weights_of_the_data_set(
    places: list[list[float]],
) -> None:
    pair = stimulus("x", np.array(places), [0, 7])
    mixture = MixtureCeiling().prepare(dataset([*planted(4.0), pair]))
    held_out = torch.eye(2, dtype=torch.bool)
    torch.testing.assert_close(mixture.fit_weights(pair, ~held_out), mixture.prior.expand(2, -1))
    density = mixture.densities(pair, ~held_out, SIZE)
    assert density.sum((1, 2)).tolist() == pytest.approx([1, 1], abs=1e-4)
    assert all(np.isfinite(value) for value in ceiling_scores(mixture, "x").values())


@pytest.mark.parametrize("size", [(60, 80), (30, 40), (33, 71)])
def test_its_densities_are_positive_and_sum_to_one_at_any_size(size: tuple[int, int]) -> None:
    mixture = MixtureCeiling().prepare(dataset(planted(3.0)))
    density = mixture(torch.rand(1, 3, 8, 8), size, ["11"]).exp()
    assert density.sum().item() == pytest.approx(1, abs=1e-4)
    assert density.min() > 0
    scores = mixture.score_ceiling(["11"], size, ImageScorer())
    assert scores["nss"].item() > 1
    assert scores["auc"].item() > 0.8


def test_its_settings_are_what_it_chose() -> None:
    mixture = prepared([0.8, 8.0])
    settings = mixture.settings()
    assert settings["bandwidths"] == [*MIXTURE_BANDWIDTHS]
    assert settings["concentration"] == mixture.concentration
    assert settings["images"] == "16 training images"
    assert settings["centre"]["images"] == "16 training images"
    assert [*settings["image_weights"]] == [str(i) for i in range(16, 24)]
    names = ["kernel 0.35", "kernel 0.7", "kernel 1.4", "kernel 2.8", "centre", "uniform"]
    for weights in (
        settings["prior_weights"],
        settings["mean_weights"],
        *settings["image_weights"].values(),
    ):
        assert [*weights] == names
        assert sum(weights.values()) == pytest.approx(1, abs=1e-3)
        assert min(weights.values()) >= 0


def test_a_stated_concentration_is_used() -> None:
    images = dataset(planted([0.8, 8.0]))
    free, fixed = (MixtureCeiling([0.5, 2.0], c).prepare(images) for c in (1e-3, 1e6))
    assert (free.concentration, fixed.concentration) == (1e-3, 1e6)
    everyone = torch.ones(1, 18, dtype=torch.bool)
    weights = [model.fit_weights(model.stimuli["11"], everyone)[0] for model in (free, fixed)]
    assert (weights[1] - fixed.prior).abs().max() < 1e-4 < (weights[0] - free.prior).abs().max()


def test_it_takes_training_images_that_two_people_saw_and_known_images() -> None:
    alone = stimulus("alone", np.array([[5.0, 5.0]]), [0])
    with pytest.raises(ValueError, match=r"two people or more saw.*network=human"):
        MixtureCeiling().prepare(dataset([alone, *planted(3.0, images=1)]))
    mixture = MixtureCeiling().prepare(dataset([alone, *planted(3.0)]))
    with pytest.raises(ValueError, match="the others, and alone has 1; score images that"):
        ceiling_scores(mixture, "alone")
    with pytest.raises(ValueError, match="MixtureCeiling knows no image 'missing'"):
        ceiling_scores(mixture, "missing")
