import logging
from collections import Counter
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deepsal.data.datasets.card import OFF_IMAGE_LIMIT, DatasetCard
from deepsal.data.datasets.reading import (
    NOT_A_NUMBER,
    OFF_IMAGE,
    build_dataset,
    existing_path,
    images_only_dataset,
    random_splits,
    read_stimulus,
    splits_by_option,
    wrap_read_errors,
)

CARD = DatasetCard(
    name="toy",
    title="Toy",
    citation="",
    images=1,
    fixations=3,
    observers=1,
    sigma=2.0,
    splits="",
    off_image_limit=1.0,
)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """8 wide and 6 high."""
    path = tmp_path / "ein Bild ä.png"
    Image.new("RGB", (8, 6)).save(path)
    return path


def test_points_off_the_image_or_without_a_number_are_counted_not_moved(image: Path) -> None:
    dropped: Counter[str] = Counter()
    points = [
        np.array([[-0.5, -0.5], [7.49, 5.49], [7.5, 2], [2, -0.51]]),
        np.empty((0, 2)),
        np.array([[np.nan, 1], [1, np.inf], [3, 3]]),
    ]
    stimulus = read_stimulus(image, points, CARD, dropped)
    assert stimulus.fixations.tolist() == [[-0.5, -0.5], [7.49, 5.49], [3, 3]]
    assert stimulus.observers.tolist() == [0, 0, 2]
    assert dropped == {OFF_IMAGE: 2, NOT_A_NUMBER: 2}
    assert stimulus.name == "ein Bild ä.png"


def test_what_was_left_out_belongs_to_the_count_and_is_told(
    image: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dropped: Counter[str] = Counter()
    points = np.array([[1.0, 1], [9, 1], [np.nan, 1]])
    stimuli = [read_stimulus(image, [points], CARD, dropped)]
    with caplog.at_level(logging.INFO, "deepsal"):
        data = build_dataset(CARD, stimuli, {"train": [0]}, dropped, image)
    assert data.dropped == {OFF_IMAGE: 1, NOT_A_NUMBER: 1}
    assert caplog.messages == [
        "Toy: left out 1 fixations: not a number",
        "Toy: left out 1 fixations: off the image",
    ]


@pytest.mark.parametrize("expected", [(2, 3), (1, 4)])
def test_other_counts_than_the_releases_are_refused_unless_a_part_is_wanted(
    image: Path, expected: tuple[int, int]
) -> None:
    points = np.ones((3, 2))
    stimuli = [read_stimulus(image, [points], CARD, Counter())]
    card = replace(CARD, images=expected[0], fixations=expected[1])
    with pytest.raises(ValueError, match=r"holds 1 images and 3 fixations, the release has"):
        build_dataset(card, stimuli, {"train": [0]}, Counter(), image)
    part = build_dataset(card, stimuli, {"train": [0]}, Counter(), image, check_counts=False)
    assert len(part.stimuli) == 1


def test_an_image_that_lost_all_its_points_is_named(image: Path) -> None:
    dropped: Counter[str] = Counter()
    stimuli = [read_stimulus(image, [np.full((3, 2), 99.0)], CARD, dropped)]
    with pytest.raises(ValueError, match=r"Toy, image ein Bild ä\.png .* has no fixation"):
        build_dataset(CARD, stimuli, {"train": [0]}, dropped, image)


def test_a_missing_image_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"Toy is incomplete: .*a\.jpg is missing"):
        read_stimulus(tmp_path / "a.jpg", [], CARD, Counter())


def test_a_missing_table_says_which_option_to_set(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no Toy here: .*a\.mat .*data_dir=FOLDER"):
        existing_path(tmp_path / "a.mat", CARD)


def test_an_error_while_reading_names_the_file(tmp_path: Path) -> None:
    message = r"a\.mat is not a fixation file of Toy: KeyError"
    with pytest.raises(ValueError, match=message), wrap_read_errors(tmp_path / "a.mat", CARD.title):
        raise KeyError("fixations")


def test_a_split_leaves_no_image_out() -> None:
    parts = random_splits(10, seed=0, test=3, val=2)
    assert sorted(i for part in parts.values() for i in part) == list(range(10))
    assert {name: len(part) for name, part in parts.items()} == {"train": 5, "val": 2, "test": 3}


def test_a_tenth_is_test_another_validation_and_duplicates_are_train() -> None:
    splits = random_splits(30, seed=0, always_train=[4, 7])
    assert {name: len(members) for name, members in splits.items()} == {
        "train": 24,
        "val": 3,
        "test": 3,
    }
    assert splits["train"][-2:] == [4, 7]


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        ({"size": (12, 16)}, r"is 8x6, but the images of the release are 16x12 pixels"),
        ({"longest_side": 16}, r"is 8x6, but the images .* have a longest side of 16 pixels"),
    ],
)
def test_a_resized_copy_is_refused(expected: dict[str, Any], message: str, image: Path) -> None:
    stimuli = [read_stimulus(image, [np.ones((3, 2))], CARD, Counter())]
    card = replace(CARD, **expected)
    for check in (True, False):
        with pytest.raises(ValueError, match=rf"Toy: ein Bild ä\.png {message}"):
            build_dataset(card, stimuli, {"train": [0]}, Counter(), image, check)
    with pytest.raises(ValueError, match=message):
        images_only_dataset(card, [image], ["ein Bild ä.png"])
    for split in ("val", "train"):
        with pytest.raises(ValueError, match=rf"split={split}: the images of Toy .* test images"):
            images_only_dataset(CARD, [image], ["ein Bild ä.png"], split=split)
    fitting = replace(CARD, size=(6, 8), longest_side=8)
    build_dataset(fitting, stimuli, {"train": [0]}, Counter(), image)


def test_validation_images_that_do_not_exist_are_no_test_images() -> None:
    with pytest.raises(ValueError, match=r"split=val: the data set has no validation images"):
        splits_by_option("val", 2, lambda: {"train": [0], "val": [], "test": [1]})


@pytest.mark.parametrize(("off", "refused"), [(1, False), (2, False), (3, True)])
def test_more_than_two_percent_off_the_image_are_refused(
    off: int, refused: bool, image: Path
) -> None:
    points, dropped = np.ones((100, 2)), Counter[str]()
    points[:off] = 9
    stimuli = [read_stimulus(image, [points], CARD, dropped)]
    card = replace(CARD, fixations=100, off_image_limit=OFF_IMAGE_LIMIT)
    message = r"Toy: 3 of 100 fixations \(3\.0%\) lie off their images, more than 2%"
    with pytest.raises(ValueError, match=message) if refused else nullcontext():
        build_dataset(card, stimuli, {"train": [0]}, dropped, image)
