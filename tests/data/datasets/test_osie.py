from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from deepsal.data import osie
from tests.data.conftest import Copied
from tests.data.fakes.osie import COUNT, NAMES, write_table

release = import_module("deepsal.data.datasets.osie")


@pytest.fixture
def fake(copied: Copied) -> Path:
    return copied("osie")


def test_twins_are_both_in_training_and_images_keep_the_order_of_the_table(fake: Path) -> None:
    data = osie(fake)
    splits = data.splits
    assert [stimulus.name for stimulus in data.stimuli] == NAMES
    assert {4, 6} <= set(splits["train"])
    assert sorted(i for split in splits.values() for i in split) == list(range(COUNT))
    assert [len(splits[split]) for split in ("train", "val", "test")] == [3, 100, 100]


@pytest.mark.parametrize("folder_exists", [False, True])
def test_a_missing_folder_or_table_says_which_option_to_set(
    tmp_path: Path, folder_exists: bool
) -> None:
    if folder_exists:
        (tmp_path / "osie" / "data" / "eye").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"fixations\.mat is missing; set data_dir=FOLDER"):
        osie(tmp_path)


@pytest.mark.parametrize("content", [{"gaze": 1.0}, {"fixations": np.ones((3, 2))}])
def test_another_table_is_refused(fake: Path, content: dict[str, object]) -> None:
    matrix = fake / "osie" / "data" / "eye" / "fixations.mat"
    savemat(matrix, content)
    with pytest.raises(ValueError, match=r"fixations\.mat is not a fixation file of OSIE"):
        osie(fake)


def test_wrong_counts_are_told(fake: Path) -> None:
    write_table(fake / "osie" / "data" / "eye" / "fixations.mat", NAMES[:-1])
    with pytest.raises(ValueError, match=r"holds 202 images and 606 fixations.* 203 and 609"):
        osie(fake)


@pytest.mark.data
def test_the_release_is_whole(data_dir: Path) -> None:
    data = osie(data_dir)
    assert len(data.stimuli) == 700
    assert sum(len(s.fixations) for s in data.stimuli) == 98_321
    assert {s.size for s in data.stimuli} == {(600, 800)}
    assert {int(s.observers.max()) for s in data.stimuli} == {14}
    assert min(s.fixations.min() for s in data.stimuli) == pytest.approx(0.2)


@pytest.mark.data
def test_the_split_of_the_release_is_fixed(data_dir: Path) -> None:
    data = osie(data_dir)
    names = {split: [data.stimuli[i].name for i in at] for split, at in data.splits.items()}
    assert {split: len(set(members)) for split, members in names.items()} == {
        "train": 500,
        "val": 100,
        "test": 100,
    }
    assert len(set().union(*names.values())) == 700
    assert {"1279.jpg", "1374.jpg"} <= set(names["train"])


@pytest.mark.data
def test_the_twins_are_one_picture(data_dir: Path) -> None:
    images = {
        s.name: s.read() for s in osie(data_dir).stimuli if s.name in release.DUPLICATE_IMAGES
    }
    first, second = (image.float() for image in images.values())
    assert (first - second).abs().max() <= 3
