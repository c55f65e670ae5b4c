from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from deepsal.data import eyecrowd
from tests.data.conftest import Refetch, same, stays

release = import_module("deepsal.data.eyecrowd")
COUNT = 143


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small EyeCrowd in the layout of the release: cells of structs, counted from 1."""
    card = replace(release.CARD, images=COUNT, fixations=2 * COUNT)
    monkeypatch.setattr(release, "CARD", card)
    data = tmp_path / "eyecrowd" / "data"
    (data / "stimuli").mkdir(parents=True)
    (data / "eye").mkdir()
    cells = np.empty(COUNT, dtype=object)
    for i in range(COUNT):
        name = f"{i + 1:03d}.jpg"
        image = Image.new("RGB", (16, 12))
        image.putpixel((i % 16, i % 12), (255, 255, 255))
        image.save(data / "stimuli" / name, quality=100, subsampling=0)
        subjects = np.empty(3, dtype=object)
        rows = [([i % 16 + 1.0, 99.0], [i % 12 + 1.0, 3.0]), ([], [])]
        rows.append(([], []))
        for j, (x, y) in enumerate(rows):
            subjects[j] = {"fix_x": x, "fix_y": y, "fix_duration": [200.0] * len(x)}
        cells[i] = {"img": name, "subjects": subjects}
    savemat(data / "eye" / "fixations.mat", {"fixations": cells})
    return tmp_path


def test_the_planted_pixel_is_fixated_and_a_point_off_the_image_is_counted(fake: Path) -> None:
    data = eyecrowd(fake)
    assert data.dropped == {"off the image": COUNT}
    for stimulus in data.stimuli:
        image = stimulus.read()[0]
        brightest = np.unravel_index(int(image.argmax()), image.shape)[::-1]
        assert stimulus.fixations.tolist() == [list(map(float, brightest))]
        assert stimulus.subjects.tolist() == [0]


def test_the_split_is_fixed_and_whole(fake: Path) -> None:
    splits = eyecrowd(fake).splits
    assert [len(splits[split]) for split in ("train", "val", "test")] == [3, 40, 100]
    assert sorted(i for split in splits.values() for i in split) == list(range(COUNT))


def test_a_partial_copy_is_refused_unless_wanted(
    fake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(release, "CARD", replace(release.CARD, images=500))
    with pytest.raises(ValueError, match=r"holds 143 images and 286 fixations"):
        eyecrowd(fake)
    assert len(eyecrowd(fake, whole=False).stimuli) == COUNT


def test_what_is_fetched_is_what_is_read(fake: Path, refetch: Refetch) -> None:
    archives: dict[str, tuple[str, str]] = {}
    there = refetch("eyecrowd", fake / "eyecrowd", archives)
    assert same(eyecrowd(there), eyecrowd(fake))


def test_a_planted_pixel_stays_under_its_fixation_through_crop_flip_and_resize(fake: Path) -> None:
    assert stays(eyecrowd(fake)) > 1
