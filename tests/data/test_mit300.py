from pathlib import Path

import pytest
from PIL import Image

from deepsal.data import mit300
from tests.data.conftest import Refetch, same


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    folder = tmp_path / "mit300" / "BenchmarkIMAGES"
    folder.mkdir(parents=True)
    (folder / "SM").mkdir()
    for i in range(1, 301):
        Image.new("RGB", (8, 6)).save(folder / f"i{i}.jpg")
    return tmp_path


def test_all_images_are_test_and_need_no_fixations(fake: Path) -> None:
    data = mit300(fake)
    assert data.hidden
    assert {split: len(at) for split, at in data.splits.items()} == {
        "train": 0,
        "val": 0,
        "test": 300,
    }
    assert data.stimuli[0].fixations.shape == (0, 2)


def test_a_partial_copy_is_refused_unless_wanted(fake: Path) -> None:
    (fake / "mit300" / "BenchmarkIMAGES" / "i7.jpg").unlink()
    with pytest.raises(ValueError, match="MIT300 has 300 images, here are 299"):
        mit300(fake)
    assert len(mit300(fake, whole=False).stimuli) == 299


def test_what_is_fetched_is_what_is_read(fake: Path, refetch: Refetch) -> None:
    archives: dict[str, tuple[str, str]] = {
        "BenchmarkIMAGES.zip": ("BenchmarkIMAGES", "BenchmarkIMAGES")
    }
    there = refetch("mit300", fake / "mit300", archives)
    assert same(mit300(there), mit300(fake))
