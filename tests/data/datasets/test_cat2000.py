from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from deepsal.data import cat2000
from tests.data.conftest import Copied, Refetch, same
from tests.data.fakes import FAKES
from tests.data.fakes.cat2000 import CATEGORIES


@pytest.fixture
def fake(copied: Copied) -> Path:
    return copied("cat2000")


def test_the_planted_pixel_is_fixated_also_where_a_rotation_is_claimed(fake: Path) -> None:
    data = cat2000(fake)
    assert data.stimuli[14].name == "Pattern/005.jpg"
    for stimulus in data.stimuli:
        assert stimulus.size == (9, 16)
        image = stimulus.read()[0]
        brightest = np.unravel_index(int(image.argmax()), image.shape)[::-1]
        assert stimulus.fixations.tolist() == [[float(at) for at in brightest]]


def test_a_tenth_of_each_category_is_test_and_another_validation(fake: Path) -> None:
    data = cat2000(fake)
    for split, count in (("train", 8), ("val", 1), ("test", 1)):
        names = [data.stimuli[i].name.split("/")[0] for i in data.splits[split]]
        assert sorted(names) == sorted(CATEGORIES * count)
    assert sorted(i for split in data.splits.values() for i in split) == list(range(20))


def test_some_categories_may_be_chosen(fake: Path) -> None:
    data = cat2000(fake, categories=["Pattern"])
    assert {s.name.split("/")[0] for s in data.stimuli} == {"Pattern"}
    with pytest.raises(ValueError, match=r"\['Cats'\]; the choices are \['Action', 'Pattern'\]"):
        cat2000(fake, categories=["Cats"])


def test_the_test_set_is_images_only(fake: Path) -> None:
    data = cat2000(fake, part="test")
    assert data.fixations_hidden
    assert data.splits == {"train": [], "val": [], "test": [*range(20)]}
    assert data.stimuli[4].read().shape == (3, 9, 16)


def test_an_unknown_part_lists_the_choices(fake: Path) -> None:
    with pytest.raises(ValueError, match="part=val: the choices are train and test"):
        cat2000(fake, part="val")


def test_a_missing_or_foreign_file_is_named(fake: Path) -> None:
    file = fake / "cat2000" / "trainSet" / "FIXATIONLOCS" / "Action" / "003.mat"
    savemat(file, {"gaze": 1})
    with pytest.raises(ValueError, match=r"003\.mat is not a fixation file of CAT2000: KeyError"):
        cat2000(fake)
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"Action/003\.mat is missing"):
        cat2000(fake)


def test_a_test_set_that_is_not_whole_is_refused(
    fake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FAKES["cat2000"].install(monkeypatch, images=2000)
    with pytest.raises(ValueError, match="CAT2000 has 2000 images, here are 20"):
        cat2000(fake, part="test")


def test_the_test_set_is_fetched_too(fake: Path, refetch: Refetch) -> None:
    fetched = refetch("cat2000", fake / "cat2000", FAKES["cat2000"].archives)
    assert same(cat2000(fetched, "test"), cat2000(fake, "test"))
