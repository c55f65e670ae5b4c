import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from deepsal.data.dataset import SaliencyDataset, Stimulus


def stimulus(*points: tuple[float, float], name: str = "cat.png") -> Stimulus:
    fixations = np.array(points, dtype=np.float64).reshape(-1, 2)
    subjects = np.zeros(len(points), dtype=np.int64)
    return Stimulus(name, (6, 8), fixations, subjects, lambda: torch.zeros(3, 6, 8).byte())


@pytest.mark.parametrize("point", [(-0.6, 2), (7.5, 2), (1, -0.6), (1, 5.5), (6, 7)])
def test_a_fixation_off_the_image_names_data_set_image_and_point(
    point: tuple[float, float],
) -> None:
    named = re.escape(
        f"toy, image cat.png (8x6): 1 fixations lie off the image, first ({point[0]:g}, "
    )
    with pytest.raises(ValueError, match=named):
        SaliencyDataset("toy", [stimulus((1, 1), point)], {"train": [0]}, 1.0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_fixation_that_is_not_finite_names_its_image(value: float) -> None:
    with pytest.raises(ValueError, match=r"cat\.png .* non-finite"):
        SaliencyDataset("toy", [stimulus((1, 1), (value, 1))], {"train": [0]}, 1.0)


def test_an_image_without_fixation_is_named() -> None:
    with pytest.raises(ValueError, match=r"dog\.png .* no fixation"):
        SaliencyDataset("toy", [stimulus((1, 1)), stimulus(name="dog.png")], {"train": [0]}, 1.0)


@pytest.mark.parametrize("splits", [{"train": [0], "test": [0]}, {"train": [0, 1, 0]}])
def test_splits_must_not_overlap(splits: dict[str, list[int]]) -> None:
    with pytest.raises(ValueError, match="must not overlap"):
        SaliencyDataset("toy", [stimulus((1, 1)), stimulus((2, 2))], splits, 1.0)


def test_the_borders_of_the_image_belong_to_it() -> None:
    stimuli = [stimulus((-0.5, -0.5), (7.49, 5.49)), stimulus((1, 1), name="dog.png")]
    dataset = SaliencyDataset("toy", stimuli, {"train": [0, 1]}, 1.0)
    counts = dataset.other_images_counts("train", "dog.png", (6, 8))
    assert counts.nonzero().tolist() == [[0, 0], [5, 7]]


def test_an_image_of_another_size_than_stated_is_named() -> None:
    wrong = replace(stimulus((1, 1)), size=(8, 8))
    with pytest.raises(ValueError, match=r"cat\.png has .*\(6, 8\).* says \(8, 8\)"):
        wrong.read_checked()
    assert stimulus((1, 1)).read_checked().shape == (3, 6, 8)


def test_the_blur_is_the_images_own_or_that_of_the_data_set() -> None:
    stimuli = [stimulus((1, 1)), replace(stimulus((1, 1), name="dog.png"), sigma=4.0)]
    dataset = SaliencyDataset("toy", stimuli, {"train": [0, 1]}, 1.5)
    assert (dataset.sigma_of("cat.png"), dataset.sigma_of("dog.png")) == (1.5, 4.0)


def test_fixations_of_other_images_are_rescaled_and_all_there() -> None:
    def stimulus(name: str, size: tuple[int, int], points: list[list[float]]) -> Stimulus:
        fixations = np.array(points, dtype=np.float64)
        subjects = np.zeros(len(points), dtype=np.int64)
        return Stimulus(name, size, fixations, subjects, lambda: torch.zeros(3, *size).byte())

    stimuli = [
        stimulus("a", (10, 10), [[0.0, 0.0]]),
        stimulus("b", (20, 20), [[19.0, 0.0], [19.4, 19.4]]),
        stimulus("c", (10, 40), [[-0.5, 5.0]]),
    ]
    dataset = SaliencyDataset("three", stimuli, {"test": [0, 1, 2]}, sigma=1.0)
    counts = dataset.other_images_counts("test", "a", (10, 10))
    assert counts.nonzero().tolist() == [[0, 9], [5, 0], [9, 9]]
    assert counts.sum() == 3
    assert dataset.other_images_counts("test", "b", (10, 10)).nonzero().tolist() == [[0, 0], [5, 0]]
    one = dataset.other_images_counts("test", "a", (10, 10), images=1)
    assert one.sum() in (1, 2)
    assert torch.equal(one, dataset.other_images_counts("test", "a", (10, 10), images=1))
    alone = SaliencyDataset("one", stimuli, {"test": [0]}, sigma=1.0)
    assert alone.other_images_counts("test", "a", (4, 4)).sum() == 0
