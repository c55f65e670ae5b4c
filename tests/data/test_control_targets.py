from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from deepsal.data import SaliencyDataModule, SaliencyDataset, Stimulus, mix_datasets, popout_dataset
from deepsal.data.control_targets import control_dataset
from tests.data.support import jpeg_dataset

CONTROLS = ("shuffled_fixations", "other_task")


def two_sizes() -> SaliencyDataset:
    small = popout_dataset((7, 3, 2), size=(48, 64))
    large = popout_dataset((7, 3, 2), size=(96, 128), seed=1)
    return mix_datasets([replace(small, name="small"), replace(large, name="large")])


def split_of(dataset: SaliencyDataset, split: str) -> list[Stimulus]:
    return [dataset.stimuli[i] for i in dataset.splits[split]]


def test_shuffled_fixations_are_those_of_another_image_of_the_split_rescaled() -> None:
    dataset = two_sizes()
    control = control_dataset(dataset, "shuffled_fixations")
    for split in ("train", "val"):
        fractions = [(s.fixations + 0.5) / s.size[::-1] for s in split_of(dataset, split)]
        donors = []
        for own, stimulus in enumerate(split_of(control, split)):
            points = (stimulus.fixations + 0.5) / stimulus.size[::-1]
            same = [
                i
                for i, fraction in enumerate(fractions)
                if fraction.shape == points.shape and np.allclose(fraction, points)
            ]
            assert len(same) == 1
            assert own not in same
            donors += same
        assert sorted(donors) == [*range(len(fractions))]


def test_edge_points_lie_on_edges_and_are_as_many_as_fixations() -> None:
    image = torch.zeros(3, 60, 80, dtype=torch.uint8)
    image[:, :, 40:] = 255
    stimulus = Stimulus("step", (60, 80), np.zeros((400, 2)), np.zeros(400, int), lambda: image)
    splits: dict[str, list[int]] = {"train": [0], "val": [], "test": []}
    control = control_dataset(SaliencyDataset("step", [stimulus], splits, 2.0), "other_task")
    points = control.stimuli[0].fixations
    assert len(points) == 400
    assert np.abs(points[:, 0] - 39.5).max() <= 10
    assert points[:, 0].std() == pytest.approx(2, rel=0.2)
    assert points[:, 1].std() == pytest.approx(60 / np.sqrt(12), rel=0.2)


def test_an_image_without_edges_has_points_everywhere() -> None:
    image = torch.full((3, 20, 30), 128, dtype=torch.uint8)
    stimulus = Stimulus("flat", (20, 30), np.zeros((300, 2)), np.zeros(300, int), lambda: image)
    splits: dict[str, list[int]] = {"train": [0], "val": [], "test": []}
    points = control_dataset(SaliencyDataset("x", [stimulus], splits, 2.0), "other_task").stimuli[0]
    assert points.fixations.max(0).tolist() == [29, 19]


@pytest.mark.parametrize("control", CONTROLS)
def test_targets_are_the_same_in_every_run_and_test_images_keep_their_fixations(
    control: str,
) -> None:
    dataset = popout_dataset((4, 2, 2), size=(48, 64))
    one, other = (control_dataset(dataset, control) for _ in range(2))
    for a, b in zip(one.stimuli, other.stimuli, strict=True):
        assert np.array_equal(a.fixations, b.fixations)
    for true, controlled in zip(split_of(dataset, "test"), split_of(one, "test"), strict=True):
        assert true is controlled
    assert control in one.name


@pytest.mark.parametrize("control", CONTROLS)
def test_a_data_module_trains_on_the_targets_of_the_control(control: str, tmp_path: Path) -> None:
    dataset = jpeg_dataset(tmp_path / "images", 8)
    dataset = replace(dataset, splits={"train": range(4), "val": range(4, 6), "test": [6, 7]})
    cache = tmp_path / "cache"
    true, controlled = (
        SaliencyDataModule(dataset, (15, 22), flip=0.0, cache_dir=cache, control=name)
        for name in (None, control)
    )
    for split in ("train", "val", "test"):
        for _ in range(2):  # computed, then from the cache
            one, other = (module.images[split][0] for module in (true, controlled))
            assert torch.equal(one.image, other.image)
            assert torch.equal(one.density, other.density) == (split == "test")
    assert controlled.dataset is dataset


def test_a_wrong_control_and_a_split_of_one_image_are_errors() -> None:
    dataset = popout_dataset((4, 1, 2), size=(48, 64))
    with pytest.raises(ValueError, match=r"control=edges is unknown.*shuffled_fixations"):
        control_dataset(dataset, "edges")
    with pytest.raises(ValueError, match="split val has one"):
        control_dataset(dataset, "shuffled_fixations")
