from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from deepsal.data import GroundTruth, Stimulus, popout_dataset
from deepsal.data.dataset import fixation_density, rasterise_fixations
from deepsal.metrics.scoring import ImageScorer
from deepsal.models import HumanCeiling, MixtureCeiling
from deepsal.models.baselines import observer_ceiling
from tests.models.baselines.support import SIGMA, SIZE, ceiling_scores, dataset, planted, stimulus


def test_many_observers_are_scored_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = HumanCeiling(1.0, 0.1).prepare(dataset(planted(4.0, people=7)))
    together, counts = ceiling_scores(prepared), []

    def score(log_density: Tensor, truth: GroundTruth) -> dict[str, Tensor]:
        counts.append(len(log_density))
        return dict(ImageScorer()(log_density, truth))

    monkeypatch.setattr(observer_ceiling, "MAX_VALUES", 3 * SIZE[0] * SIZE[1])
    parts = prepared.score_ceiling(["11"], SIZE, score)
    assert counts == [3, 3, 1, 2], "observers, then the two halves"
    assert {key: value.item() for key, value in parts.items()} == together


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


def test_the_density_of_a_data_set_is_fitted_to_images_that_two_people_saw() -> None:
    class Recorder(HumanCeiling):
        def fit(self, stimuli: Sequence[Stimulus]) -> None:
            self.fitted = [one.name for one in stimuli]

    alone = stimulus("alone", np.array([[5.0, 5.0], [6.0, 6.0]]), [0, 0])
    recorder = Recorder(1.0, 0.1).prepare(dataset([*planted(3.0, images=3), alone, *planted(3.0)]))
    assert recorder.fitted == ["0", "1", "2", *map(str, range(11))]
    assert [one.name for one in recorder.test_images] == ["11"]


def test_a_test_image_of_one_observer_is_named_before_anything_is_fitted() -> None:
    class Recorder(HumanCeiling):
        def fit(self, stimuli: Sequence[Stimulus]) -> None:
            raise AssertionError("fitted")

    alone = stimulus("alone", np.array([[5.0, 5.0], [6.0, 6.0]]), [0, 0])
    message = (
        r"from the others, and 1 of 2 test images of .* have 1 \(alone …\); leave .*splits\.csv"
    )
    with pytest.raises(ValueError, match=message):
        Recorder().prepare(dataset([*planted(3.0), alone, stimulus("x", np.eye(2), [0, 1])], 2))


@pytest.mark.parametrize("ceiling", [HumanCeiling, MixtureCeiling])
def test_generated_data_of_one_observer_need_another_data_set(
    ceiling: type[HumanCeiling | MixtureCeiling],
) -> None:
    arrays = popout_dataset(images=(2, 1, 2), size=(64, 64))
    with pytest.raises(ValueError, match=r"no test image of pop-out .* has two; .*data=osie") as e:
        ceiling().prepare(arrays)
    assert "splits.csv" not in str(e.value)


def test_a_centre_prior_is_the_same_at_fixations_and_as_a_map() -> None:
    human = HumanCeiling(1.0, 0.1).prepare(dataset(planted(3.0)))
    one = human.test_images[0]
    column, row = torch.from_numpy(one.fixations + 0.5).long().T
    on_map = human.centre_density("11", SIZE)[0, row, column].double()
    torch.testing.assert_close(human.centre_at_fixations(one), on_map, rtol=0.3, atol=1e-6)


def test_a_gaussian_lies_on_each_point_of_a_set() -> None:
    points = torch.tensor([[20.0, 10.0], [60.0, 50.0]], dtype=torch.float64)
    members = torch.tensor([[True, False], [True, True]])
    maps = observer_ceiling.gaussian_maps(points, members, SIZE, torch.tensor([3.0, 2.0]))
    assert maps.sum((1, 2)).tolist() == pytest.approx([1, 1], abs=1e-5)
    assert maps[0].argmax() == 10 * 80 + 20
    assert maps[0, 10, 23] / maps[0, 10, 20] == pytest.approx(np.exp(-0.5), rel=1e-5)
    assert maps[1, 50, 60] == pytest.approx(maps[0, 10, 20].item() / 2, rel=1e-3)
