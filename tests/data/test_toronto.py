from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from deepsal.data import toronto
from tests.data.conftest import Refetch, same, stays

release = import_module("deepsal.data.toronto")


def place(i: int) -> tuple[int, int]:
    return i % 16, i % 11


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """120 small images and, in `white`, a cell of marks for each."""
    monkeypatch.setattr(release, "CARD", replace(release.CARD, fixations=240))
    root = tmp_path / "toronto" / "eyetrackingdata" / "fixdens"
    (root / "Original Image Set").mkdir(parents=True)
    cells = np.empty((1, 120), dtype=object)
    for i in range(120):
        x, y = place(i)
        image = Image.new("RGB", (16, 12))
        image.putpixel((x, y), (255, 255, 255))
        image.save(root / "Original Image Set" / f"{i + 1}.jpg", quality=100, subsampling=0)
        cells[0, i] = np.zeros((12, 16), np.uint8)
        cells[0, i][[y, 11], [x, 15]] = 1
    savemat(root / "origfixdata.mat", {"white": cells})
    return tmp_path


def test_the_planted_pixel_and_the_last_one_are_fixated(fake: Path) -> None:
    for stimulus in toronto(fake).stimuli:
        image = stimulus.read()[0]
        brightest = np.unravel_index(int(image.argmax()), image.shape)[::-1]
        assert stimulus.fixations.tolist() == [[float(at) for at in brightest], [15, 11]]
        assert stimulus.subjects.tolist() == [0, 0]


def test_the_split_is_fixed_and_whole(fake: Path) -> None:
    splits = toronto(fake).splits
    assert [len(splits[split]) for split in ("train", "val", "test")] == [80, 20, 20]
    assert sorted(i for split in splits.values() for i in split) == list(range(120))


def test_an_image_of_another_size_than_its_marks_is_named(fake: Path) -> None:
    file = fake / "toronto" / "eyetrackingdata" / "fixdens" / "Original Image Set" / "7.jpg"
    Image.new("RGB", (20, 12)).save(file)
    with pytest.raises(ValueError, match=r"7\.jpg has .*\(12, 20\), but .*mat says \(12, 16\)"):
        toronto(fake)


def test_a_foreign_file_is_named(fake: Path) -> None:
    file = fake / "toronto" / "eyetrackingdata" / "fixdens" / "origfixdata.mat"
    savemat(file, {"black": 1})
    with pytest.raises(ValueError, match=r"origfixdata\.mat is not a fixation file of Toronto"):
        toronto(fake)


def test_what_is_fetched_is_what_is_read(fake: Path, refetch: Refetch) -> None:
    archives: dict[str, tuple[str, str]] = {
        "eyetrackingdata.zip": ("eyetrackingdata", "eyetrackingdata")
    }
    there = refetch("toronto", fake / "toronto", archives)
    assert same(toronto(there), toronto(fake))


def test_a_planted_pixel_stays_under_its_fixation_through_crop_flip_and_resize(fake: Path) -> None:
    assert stays(toronto(fake)) > 1
