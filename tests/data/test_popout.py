import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from deepsal.data import popout
from deepsal.data.popout import FEATURES, _Array

SIZE = (96, 128)


def chosen(index: int, feature: str) -> _Array:
    return _Array(0, index, feature, SIZE)


def distances(array: _Array) -> NDArray[np.float64]:
    points = array.fixations(60) + 0.5
    offset = points - (array.x[array.target], array.y[array.target])
    distance: NDArray[np.float64] = np.hypot(*offset.T)
    return distance


def test_an_image_depends_on_seed_and_index_alone() -> None:
    few, many = popout((2, 1, 1), size=SIZE), popout((5, 3, 2), size=SIZE)
    for first, second in zip(few.stimuli, many.stimuli, strict=False):
        assert first.name == second.name
        assert np.array_equal(first.fixations, second.fixations)
        assert torch.equal(first.read(), second.read())


def test_reading_twice_and_out_of_order_gives_the_same_image() -> None:
    stimuli = popout((3, 1, 1), size=SIZE).stimuli
    later, first = stimuli[2].read(), stimuli[0].read()
    assert torch.equal(first, stimuli[0].read())
    assert torch.equal(later, stimuli[2].read())


def test_seeds_and_indices_differ() -> None:
    images = [s.read() for seed in (0, 1) for s in popout((2, 1, 1), SIZE, seed=seed).stimuli]
    assert len({image.numpy().tobytes() for image in images}) == 8


@pytest.mark.parametrize("size", [SIZE, (60, 60), (50, 111)])
def test_images_are_bytes_of_the_declared_size(size: tuple[int, int]) -> None:
    stimulus = popout((1, 1, 1), size=size).stimuli[0]
    image = stimulus.read()
    assert image.dtype == torch.uint8
    assert image.shape == (3, *stimulus.size) == (3, *size)


def test_splits_and_blur() -> None:
    data = popout((4, 2, 3), size=SIZE)
    assert {split: len(members) for split, members in data.splits.items()} == {
        "train": 4,
        "val": 2,
        "test": 3,
    }
    assert data.sigma == 4


@pytest.mark.parametrize("index", range(8))
def test_a_colour_target_is_the_only_bar_of_its_colour(index: int) -> None:
    array = chosen(index, "colour")
    same = (array.colours == array.colours[array.target]).all(1)
    assert same.nonzero()[0].tolist() == [array.target]
    assert len(np.unique(array.colours, axis=0)) == 2


@pytest.mark.parametrize("index", range(8))
def test_an_orientation_target_is_turned_far_from_the_others(index: int) -> None:
    array = chosen(index, "orientation")
    away = np.abs(np.sin(array.angles - array.angles[array.target]))
    assert np.delete(away, array.target).min() > np.sin(np.pi / 4 - 0.4)
    assert len(np.unique(array.colours, axis=0)) == 1


@pytest.mark.parametrize("index", range(4))
def test_the_drawn_target_has_its_colour_where_it_is_said_to_be(index: int) -> None:
    array = chosen(index, "colour")
    image = array.draw()
    for x, y, colour in zip(array.x, array.y, array.colours, strict=True):
        assert np.abs(image[:, int(y), int(x)].numpy().astype(int) - colour).max() <= 40


@pytest.mark.parametrize("feature", FEATURES)
def test_most_fixations_are_near_the_target(feature: str) -> None:
    near = [distances(chosen(index, feature)) < 0.1 * SIZE[1] for index in range(6)]
    assert np.concatenate(near).mean() > 0.6


def test_features_are_used_in_turn() -> None:
    names = [s.name for s in popout((2, 1, 1), SIZE).stimuli]
    assert names == ["colour-0000", "orientation-0001", "colour-0002", "orientation-0003"]
    assert {s.name[:6] for s in popout((2, 1, 1), SIZE, features=("colour",)).stimuli} == {"colour"}


def test_an_unknown_feature_lists_the_choices() -> None:
    with pytest.raises(ValueError, match=r"\['smell'\].*'colour', 'orientation'"):
        popout((1, 1, 1), SIZE, features=("colour", "smell"))
