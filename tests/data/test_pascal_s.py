from dataclasses import replace
from importlib import import_module
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from deepsal.data import pascal_s
from tests.data.conftest import Refetch, same, stays

release = import_module("deepsal.data.pascal_s")
COUNT = 172


def place(i: int) -> tuple[int, int]:
    return i % 16, i % 12


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As MATLAB 7.3 stores a cell: references to arrays of y, x, subject, counted from 1."""
    card = replace(release.CARD, images=COUNT, fixations=3 * COUNT)
    monkeypatch.setattr(release, "CARD", card)
    root = tmp_path / "pascal_s" / "datasets"
    (root / "imgs" / "pascal").mkdir(parents=True)
    (root / "fixations").mkdir()
    with h5py.File(root / "fixations" / "pascalFix.mat", "w", userblock_size=512) as file:
        cells = file.create_dataset("fixCell", (1, COUNT), dtype=h5py.ref_dtype)
        for i in range(COUNT):
            x, y = place(i)
            image = Image.new("RGB", (16, 12))
            image.putpixel((x, y), (255, 255, 255))
            image.save(root / "imgs" / "pascal" / f"{i + 1}.jpg", quality=100, subsampling=0)
            rows = np.array([[y + 1, 13, y + 1], [x + 1, 1, x + 1], [1, 1, 3]], np.float64)
            cells[0, i] = file.create_dataset(f"#refs#/{i}", data=rows).ref
    return tmp_path


def test_the_planted_pixel_is_fixated_and_a_point_off_the_image_is_counted(fake: Path) -> None:
    data = pascal_s(fake)
    assert data.dropped == {"off the image": COUNT}
    for stimulus in data.stimuli:
        image = stimulus.read()[0]
        brightest = np.unravel_index(int(image.argmax()), image.shape)[::-1]
        assert stimulus.fixations.tolist() == [[float(at) for at in brightest]] * 2
        assert stimulus.subjects.tolist() == [0, 2]


def test_the_split_is_fixed_and_whole(fake: Path) -> None:
    splits = pascal_s(fake).splits
    assert [len(splits[split]) for split in ("train", "val", "test")] == [2, 85, 85]
    assert sorted(i for split in splits.values() for i in split) == list(range(COUNT))


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"MATLAB 5.0 MAT-file".ljust(600)])
def test_a_corrupt_file_is_named(fake: Path, content: bytes) -> None:
    (fake / "pascal_s" / "datasets" / "fixations" / "pascalFix.mat").write_bytes(content)
    with pytest.raises(ValueError, match=r"pascalFix\.mat is not a fixation file of PASCAL-S"):
        pascal_s(fake)


def test_what_is_fetched_is_what_is_read(fake: Path, refetch: Refetch) -> None:
    archives: dict[str, tuple[str, str]] = {"salObj.zip": ("datasets", "datasets")}
    there = refetch("pascal_s", fake / "pascal_s", archives)
    assert same(pascal_s(there), pascal_s(fake))


def test_a_planted_pixel_stays_under_its_fixation_through_crop_flip_and_resize(fake: Path) -> None:
    assert stays(pascal_s(fake)) > 1
