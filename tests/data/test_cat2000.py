from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from deepsal.data import cat2000
from tests.data.conftest import Refetch, same, stays

release = import_module("deepsal.data.cat2000")
CATEGORIES = ["Action", "Pattern"]


def place(i: int) -> tuple[int, int]:
    return i, i % 9


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two categories of ten; one image says that it should be turned, a Mac left a file."""
    monkeypatch.setattr(release, "CARD", replace(release.CARD, images=20))
    root = tmp_path / "cat2000"
    for part in ("trainSet", "testSet"):
        for category in CATEGORIES:
            (root / part / "Stimuli" / category / "Output").mkdir(parents=True)
            (root / part / "Stimuli" / category / "._001.jpg").write_bytes(b"stray")
            (root / "trainSet" / "FIXATIONLOCS" / category).mkdir(parents=True, exist_ok=True)
            for i in range(10):
                image = Image.new("RGB", (16, 9))
                image.putpixel(place(i), (255, 255, 255))
                exif = Image.Exif()
                if (category, i) == ("Pattern", 4):
                    exif[0x0112] = 6
                file = root / part / "Stimuli" / category / f"{i + 1:03d}.jpg"
                image.save(file, quality=100, subsampling=0, exif=exif)
                marked = np.zeros((9, 16), np.uint8)
                marked[place(i)[1], place(i)[0]] = 1
                to = root / "trainSet" / "FIXATIONLOCS" / category / f"{i + 1:03d}.mat"
                savemat(to, {"fixLocs": marked})
    return tmp_path


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
    assert data.hidden
    assert data.splits == {"train": [], "val": [], "test": range(20)}
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


def test_a_partial_copy_is_refused_unless_wanted(
    fake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(release, "CARD", replace(release.CARD, images=2000))
    with pytest.raises(ValueError, match="holds 20 images"):
        cat2000(fake)
    assert len(cat2000(fake, whole=False).stimuli) == 20
    with pytest.raises(ValueError, match="CAT2000 has 2000 images, here are 20"):
        cat2000(fake, part="test")


def test_what_is_fetched_is_what_is_read(fake: Path, refetch: Refetch) -> None:
    archives = {f"{part}Set.zip": (f"{part}Set", f"{part}Set") for part in ("train", "test")}
    there = refetch("cat2000", fake / "cat2000", archives)
    assert same(cat2000(there), cat2000(fake))
    assert same(cat2000(there, "test"), cat2000(fake, "test"))


def test_a_planted_pixel_stays_under_its_fixation_through_crop_flip_and_resize(fake: Path) -> None:
    assert stays(cat2000(fake)) > 1
