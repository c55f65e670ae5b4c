import numpy as np
import pytest
import torch

from deepsal.data import popout_dataset
from deepsal.data.popout.popout import popout_test_arrays

SIZE = (96, 128)


def test_an_image_depends_on_seed_and_index_alone() -> None:
    few, many = popout_dataset((2, 1, 1), size=SIZE), popout_dataset((5, 3, 2), size=SIZE)
    for first, second in zip(few.stimuli, many.stimuli, strict=False):
        assert first.name == second.name
        assert np.array_equal(first.fixations, second.fixations)
        assert torch.equal(first.read(), second.read())


def test_reading_twice_and_out_of_order_gives_the_same_image() -> None:
    stimuli = popout_dataset((3, 1, 1), size=SIZE).stimuli
    later, first = stimuli[2].read(), stimuli[0].read()
    assert torch.equal(first, stimuli[0].read())
    assert torch.equal(later, stimuli[2].read())


def test_seeds_and_indices_differ() -> None:
    images = [
        s.read() for seed in (0, 1) for s in popout_dataset((2, 1, 1), SIZE, seed=seed).stimuli
    ]
    assert len({image.numpy().tobytes() for image in images}) == 8


def test_all_arrays_are_test_images_on_demand() -> None:
    splits = popout_dataset((2, 1, 1), size=SIZE, split="all").splits
    assert splits == {"train": [], "val": [], "test": [0, 1, 2, 3]}


@pytest.mark.parametrize("size", [SIZE, (60, 60), (50, 111)])
def test_images_are_bytes_of_the_declared_size(size: tuple[int, int]) -> None:
    stimulus = popout_dataset((1, 1, 1), size=size).stimuli[0]
    image = stimulus.read()
    assert image.dtype == torch.uint8
    assert image.shape == (3, *stimulus.size) == (3, *size)


def test_splits_and_blur() -> None:
    data = popout_dataset((4, 2, 3), size=SIZE)
    assert {split: len(members) for split, members in data.splits.items()} == {
        "train": 4,
        "val": 2,
        "test": 3,
    }
    assert data.sigma == 4


def test_features_are_used_in_turn() -> None:
    names = [s.name for s in popout_dataset((2, 1, 1), SIZE).stimuli]
    assert names == ["colour-0000", "orientation-0001", "colour-0002", "orientation-0003"]
    assert {s.name[:6] for s in popout_dataset((2, 1, 1), SIZE, features=("colour",)).stimuli} == {
        "colour"
    }


def test_an_unknown_feature_lists_the_choices() -> None:
    with pytest.raises(ValueError, match=r"\['smell'\].*'colour', .*'orientation'"):
        popout_dataset((1, 1, 1), SIZE, features=("colour", "smell"))


def test_features_and_contrasts_go_round() -> None:
    data = popout_dataset((4, 1, 1), SIZE, ("larger", "shape"), contrasts=[0.5, 1.0])
    images = [s.read() for s in data.stimuli]
    assert [s.name[:5] for s in data.stimuli] == ["large", "shape"] * 3
    assert len({image.numpy().tobytes() for image in images}) == 6


def test_a_feature_without_a_contrast_is_told() -> None:
    with pytest.raises(ValueError, match="shape needs contrasts"):
        popout_dataset((1, 1, 1), SIZE, ("shape",))


def test_the_battery_has_every_feature_at_seven_contrasts() -> None:
    tests = popout_test_arrays(repeats=2, size=SIZE)
    assert len(tests) == 15 * 7 * 2
    assert len({(test.feature, round(test.contrast, 3)) for test in tests}) == 105
