from collections import Counter
from dataclasses import replace

import pytest
import torch

from deepsal.data import SaliencyDataModule, SaliencyDataset, mix_datasets, popout_dataset
from deepsal.data.dataset import fixation_density, rasterise_fixations

SIZE = (24, 32)


def parts(first: int = 12, second: int = 4) -> list[SaliencyDataset]:
    small = popout_dataset((first, 2, 2), size=(48, 64))
    large = popout_dataset((second, 3, 1), size=(96, 128), seed=1)
    return [replace(small, name="small"), replace(large, name="large")]


def test_splits_are_joined_and_names_tell_the_set() -> None:
    small, large = parts()
    both = mix_datasets([small, large])
    assert both.name == "small + large"
    names = {split: [both.stimuli[i].name for i in at] for split, at in both.splits.items()}
    for split, members in names.items():
        expected = [
            f"{d.name}/{d.stimuli[i].name}" for d in (small, large) for i in d.splits[split]
        ]
        assert members == expected


def test_every_stimulus_keeps_the_blur_of_its_own_set() -> None:
    small, large = parts()
    module = SaliencyDataModule(mix_datasets([small, large]), SIZE, flip=0.0)
    assert small.sigma == 2
    assert large.sigma == 4
    for place, source in ((0, small), (-1, large)):
        stimulus = source.stimuli[source.splits["val"][place]]
        points = torch.from_numpy(stimulus.fixations)
        sigma = source.sigma * SIZE[0] / stimulus.size[0]
        expected = fixation_density(
            rasterise_fixations(points, stimulus.size, SIZE), (sigma, sigma)
        )
        images = module.images["val"]
        assert torch.equal(images[place % len(images)].density, expected)


@pytest.mark.parametrize(
    ("weights", "share"), [([1.0, 1.0], 0.5), ([3.0, 1.0], 0.75), ([0.0, 1.0], 0.0)]
)
def test_weights_are_the_shares_of_the_sets_in_training(weights: list[float], share: float) -> None:
    torch.manual_seed(0)
    module = SaliencyDataModule(mix_datasets(parts(), weights), SIZE, batch_size=4)
    drawn: Counter[str] = Counter()
    for _ in range(40):
        for batch in module.train_dataloader():
            drawn.update(name.split("/")[0] for name in batch.name)
    assert drawn["small"] / drawn.total() == pytest.approx(share, abs=0.06)


def test_without_weights_every_image_is_seen_once_an_epoch() -> None:
    module = SaliencyDataModule(mix_datasets(parts()), SIZE, batch_size=4)
    names = [name for batch in module.train_dataloader() for name in batch.name]
    assert len(names) == len(set(names)) == 16


def test_another_set_can_be_tested_than_the_one_trained_on() -> None:
    small, large = parts()
    module = SaliencyDataModule(small, SIZE, test=large)
    assert [s.name for s in module.images["val"].stimuli] == [
        small.stimuli[i].name for i in small.splits["val"]
    ]
    (batch,) = module.test_dataloader()
    assert batch.name == [large.stimuli[large.splits["test"][0]].name]
    assert batch.density.shape == (1, 96, 128)


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [1.0, 1.0, 1.0]])
def test_wrong_weights_are_told(weights: list[float]) -> None:
    with pytest.raises(ValueError, match=r"data\.dataset\.weights=.* one per set of"):
        mix_datasets(parts(), weights)


def test_a_set_is_not_mixed_with_itself() -> None:
    with pytest.raises(ValueError, match="mixed with itself"):
        mix_datasets(parts()[:1] * 2)
