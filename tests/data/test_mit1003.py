from dataclasses import replace
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.io import savemat

from deepsal.data import mit1003
from tests.data.conftest import Refetch, same, stays

release = import_module("deepsal.data.mit1003")
NAMES = [f"i{n:02d}june05_static_street_boston_p1010{n:03d}" for n in range(19)]
NAMES.append("istatic_outdoor_street_boston_park_cambridge_uk_IMG_" + "0" * 18)
PEOPLE = ("CNG", "ajs")


def place(i: int) -> tuple[int, int]:
    return 20 + 30 * i, 500 - 20 * i


def gaze(*places: tuple[float, float]) -> NDArray[np.float64]:
    """A quarter of a second in each place, 25 ms in between."""
    legs = [np.repeat([places[0]], 60, axis=0)]
    for a, b in pairwise(places):
        legs += [np.linspace(a, b, 8)[1:-1], np.repeat([b], 60, axis=0)]
    return np.concatenate(legs)


def write(file: Path, eye_data: NDArray[np.float64]) -> None:
    """As the release does: one variable, named after the image and cut to 63 letters."""
    trial = {"imgName": f"{file.stem}.jpeg", "DATA": {"eyeData": eye_data}}
    savemat(file, {file.stem[:63]: trial}, long_field_names=True)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twenty images; everybody starts in the middle, then one place, a blink, off the image."""
    card = replace(release.CARD, images=len(NAMES), fixations=2 * len(NAMES))
    monkeypatch.setattr(release, "CARD", card)
    root = tmp_path / "mit1003"
    (root / "ALLSTIMULI").mkdir(parents=True)
    (root / "ALLSTIMULI" / "Thumbs.db").write_bytes(b"stray")
    for i, name in enumerate(NAMES):
        image = Image.new("RGB", (1024, 600))
        image.putpixel(place(i), (255, 255, 255))
        image.save(root / "ALLSTIMULI" / f"{name}.jpeg", quality=100, subsampling=0)
    (root / "DATA").mkdir()
    (root / "DATA" / ".DS_Store").write_bytes(b"stray")
    for person in PEOPLE:
        (root / "DATA" / person).mkdir()
        savemat(root / "DATA" / person / "CalibrationData.mat", {"passed": 1})
        for i, name in enumerate(NAMES):
            places = [(512, 300), place(i), (-300, -300), (400, 700)]
            write(root / "DATA" / person / f"{name}.mat", gaze(*places))
    return tmp_path


def test_the_planted_pixel_is_fixated_and_the_rest_is_counted(fake: Path) -> None:
    data = mit1003(fake)
    assert data.dropped == {"first of a trial": 40, "blink or off the image": 80}
    assert [s.name for s in data.stimuli] == [f"{name}.jpeg" for name in sorted(NAMES)]
    for stimulus in data.stimuli:
        image = stimulus.read()[0]
        brightest = np.unravel_index(int(image.argmax()), image.shape)[::-1]
        assert stimulus.subjects.tolist() == [0, 1]
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


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"MATLAB 5.0 MAT-file".ljust(200)])
def test_a_corrupt_trial_is_named(fake: Path, content: bytes) -> None:
    (fake / "mit1003" / "DATA" / "ajs" / f"{NAMES[3]}.mat").write_bytes(content)
    with pytest.raises(ValueError, match=rf"{NAMES[3]}\.mat is not a fixation file of MIT1003"):
        mit1003(fake)


def test_a_trial_of_no_samples_is_named(fake: Path) -> None:
    write(fake / "mit1003" / "DATA" / "ajs" / f"{NAMES[3]}.mat", np.empty((0, 2)))
    with pytest.raises(ValueError, match=rf"{NAMES[3]}\.mat is not a fixation file of MIT1003"):
        mit1003(fake)


def test_wrong_counts_are_told_unless_a_part_is_wanted(fake: Path) -> None:
    (fake / "mit1003" / "ALLSTIMULI" / f"{NAMES[3]}.jpeg").unlink()
    with pytest.raises(ValueError, match=r"holds 19 images and 38 fixations.* 20 and 40"):
        mit1003(fake)
    assert len(mit1003(fake, whole=False).stimuli) == 19


def test_what_is_fetched_is_what_is_read(fake: Path, refetch: Refetch) -> None:
    archives: dict[str, tuple[str, str]] = {
        "ALLSTIMULI.zip": ("ALLSTIMULI", "ALLSTIMULI"),
        "DATA.zip": ("DATA", "DATA"),
    }
    there = refetch("mit1003", fake / "mit1003", archives)
    assert same(mit1003(there), mit1003(fake))


def test_a_planted_pixel_stays_under_its_fixation_through_crop_flip_and_resize(fake: Path) -> None:
    assert stays(mit1003(fake)) > 1
