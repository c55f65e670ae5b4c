import json
import re
from pathlib import Path
from typing import Any

import pytest

from deepsal.data import coco_freeview
from tests.data.conftest import Copied
from tests.data.fakes.coco_freeview import FOLDERS, TABLE, VIEWED, WITHHELD, trials_on


@pytest.fixture
def fake(copied: Copied, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("deepsal.data.datasets.coco_freeview.TEST_IMAGES", len(WITHHELD))
    return copied("coco_freeview")


def rewrite(data_dir: Path, *trials: dict[str, Any]) -> None:
    (data_dir / "coco_freeview" / TABLE).write_text(json.dumps(trials))


def test_the_official_training_images_are_train_and_the_validation_images_halved(
    fake: Path,
) -> None:
    data = coco_freeview(fake)
    assert [stimulus.name for stimulus in data.stimuli] == VIEWED
    assert list(data.splits["train"]) == [0, 2, 5]
    assert sorted([*data.splits["val"], *data.splits["test"]]) == [1, 3, 4, 6]


def test_an_observer_who_missed_an_image_keeps_the_others_their_numbers(fake: Path) -> None:
    rewrite(fake, *trials_on(0), trials_on(1)[1])
    observers = [s.observers.tolist() for s in coco_freeview(fake, check_counts=False).stimuli]
    assert observers == [[0, 1, 1], [1, 1]]


def test_the_images_whose_fixations_are_withheld_are_images_only(fake: Path) -> None:
    data = coco_freeview(fake, part="test")
    assert data.fixations_hidden
    assert [stimulus.name for stimulus in data.stimuli] == WITHHELD
    assert data.splits == {"train": [], "val": [], "test": [0, 1]}
    assert data.stimuli[1].read().shape == (3, 24, 40)
    with pytest.raises(ValueError, match="part=val: the choices are train and test"):
        coco_freeview(fake, part="val")


def test_withheld_images_that_are_missing_are_counted(fake: Path) -> None:
    (fake / "coco_freeview" / FOLDERS[1] / WITHHELD[0]).unlink()
    with pytest.raises(ValueError, match="COCO-FreeView has 2 images, here are 1"):
        coco_freeview(fake, part="test")
    assert len(coco_freeview(fake, part="test", check_counts=False).stimuli) == 1


def test_a_viewed_image_that_is_missing_is_named(fake: Path) -> None:
    (fake / "coco_freeview" / FOLDERS[1] / VIEWED[3]).unlink()
    path = rf"/{{images,coco_search18_images_TA}}/CATEGORY/{re.escape(VIEWED[3])}"
    message = rf"COCO-FreeView is incomplete: .*coco_freeview{path} is missing"
    with pytest.raises(FileNotFoundError, match=message):
        coco_freeview(fake)


def test_a_missing_folder_of_images_is_named(fake: Path) -> None:
    (fake / "coco_freeview" / "images").rename(fake / "coco_freeview" / "else")
    with pytest.raises(FileNotFoundError, match=r"no COCO-FreeView here: .*images is missing"):
        coco_freeview(fake)


@pytest.mark.parametrize("split", ["valid", "test"])
def test_an_image_of_two_splits_or_of_an_unknown_one_is_refused(fake: Path, split: str) -> None:
    first, second = trials_on(0)
    rewrite(fake, first, {**second, "split": split})
    with pytest.raises(ValueError, match=rf"{TABLE} is not a fix.*{VIEWED[0]} has .* '{split}'"):
        coco_freeview(fake)


@pytest.mark.parametrize(
    ("trials", "fault"),
    [
        ([], "holds no trial"),
        ([{**trials_on(0)[0], "X": [[1.0]], "Y": [[2.0]]}, trials_on(0)[1]], "nested deeper"),
    ],
)
def test_a_table_of_another_form_is_no_fixation_file(
    fake: Path, trials: list[dict[str, Any]], fault: str
) -> None:
    rewrite(fake, *trials)
    for part in ("train", "test"):
        with pytest.raises(ValueError, match=rf"{TABLE} is not a fixation file of .*{fault}"):
            coco_freeview(fake, part=part)


def test_coordinates_of_two_lengths_are_refused(fake: Path) -> None:
    rewrite(fake, {**trials_on(0)[0], "X": [1.0]})
    with pytest.raises(ValueError, match=f"{TABLE} is not a fixation file of COCO-FreeView"):
        coco_freeview(fake)
