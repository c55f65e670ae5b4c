from pathlib import Path

import numpy as np
import pytest

from deepsal.data import mit1003
from tests.data.conftest import Copied
from tests.data.fakes.mit1003 import NAMES, write_trial


@pytest.fixture
def fake(copied: Copied) -> Path:
    return copied("mit1003")


def test_the_planted_pixel_is_fixated_and_the_rest_is_counted(fake: Path) -> None:
    data = mit1003(fake)
    assert data.dropped == {"first of a trial": 40, "blink or off the image": 80}
    assert [s.name for s in data.stimuli] == [f"{name}.jpeg" for name in sorted(NAMES)]
    for stimulus in data.stimuli:
        image = stimulus.read()[0]
        brightest = np.unravel_index(int(image.argmax()), image.shape)[::-1]
        assert stimulus.observers.tolist() == [0, 1]
        assert np.abs(stimulus.fixations - brightest).max() <= 0.5


def test_each_image_is_tested_in_one_fold(fake: Path) -> None:
    folds = [mit1003(fake, fold).splits for fold in range(10)]
    assert sorted(i for fold in folds for i in fold["test"]) == list(range(20))
    for fold, following in zip(folds, [*folds[1:], folds[0]], strict=True):
        assert fold["val"] == following["test"]
        assert sorted(i for part in fold.values() for i in part) == list(range(20))


def test_an_unknown_fold_lists_the_choices(fake: Path) -> None:
    with pytest.raises(ValueError, match="fold=10: the choices are 0 to 9"):
        mit1003(fake, fold=10)


def test_a_missing_trial_is_named(fake: Path) -> None:
    (fake / "mit1003" / "DATA" / "ajs" / f"{NAMES[3]}.mat").unlink()
    with pytest.raises(FileNotFoundError, match=rf"incomplete: .*ajs/{NAMES[3]}\.mat is missing"):
        mit1003(fake)


def test_a_trial_of_no_samples_is_named(fake: Path) -> None:
    write_trial(fake / "mit1003" / "DATA" / "ajs" / f"{NAMES[3]}.mat", np.empty((0, 2)))
    with pytest.raises(ValueError, match=rf"{NAMES[3]}\.mat is not a fixation file of MIT1003"):
        mit1003(fake)


def test_wrong_counts_are_told_unless_a_part_is_wanted(fake: Path) -> None:
    (fake / "mit1003" / "ALLSTIMULI" / f"{NAMES[3]}.jpeg").unlink()
    with pytest.raises(ValueError, match=r"holds 19 images and 38 fixations.* 20 and 40"):
        mit1003(fake)
    assert len(mit1003(fake, check_counts=False).stimuli) == 19
