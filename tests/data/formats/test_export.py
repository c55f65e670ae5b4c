from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from deepsal.data import popout_dataset, read_csv_folder, write_csv_folder
from deepsal.data.dataset import SaliencyDataset, Stimulus
from deepsal.data.image_files import read_image


@pytest.fixture
def data(tmp_path: Path) -> SaliencyDataset:
    """Twelve observers; names with spaces, umlauts and folders; grey, 16-bit and CMYK images."""
    random = np.random.default_rng(0)
    files = ["ä b.png", "Action/001.jpg", "Art/001.jpg", "c.png"]
    stimuli = []
    for name, mode in zip(files, ["L", "CMYK", "RGB", "I;16"], strict=True):
        path = tmp_path / "release" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = {"L": (6, 8), "I;16": (6, 8), "CMYK": (6, 8, 4), "RGB": (6, 8, 3)}[mode]
        if mode == "I;16":
            Image.fromarray(random.integers(0, 65536, shape).astype(np.uint16)).save(path)
        else:
            pixels = random.integers(0, 256, shape, dtype=np.uint8)
            Image.fromarray(pixels, mode=mode).save(path)
        points = random.uniform((-0.5, -0.5), (7.5, 5.5), (24, 2))
        subjects = np.arange(24) % 12
        stimuli.append(Stimulus(name, (6, 8), points, subjects, partial(read_image, path)))
    return SaliencyDataset("toy", stimuli, {"train": [2, 0], "val": [1], "test": [3]}, 2.0)


def test_what_is_exported_is_read_back_bit_for_bit(data: SaliencyDataset, tmp_path: Path) -> None:
    write_csv_folder(data, tmp_path / "toy")
    back = read_csv_folder(tmp_path / "toy", sigma=2.0)
    assert back.name == data.name
    assert back.splits == data.splits
    for old, new in zip(data.stimuli, back.stimuli, strict=True):
        assert (old.name, old.size) == (new.name, new.size)
        assert np.array_equal(old.fixations, new.fixations)
        assert np.array_equal(old.subjects, new.subjects)
        assert torch.equal(old.read(), new.read())


def test_an_images_own_blur_is_kept(data: SaliencyDataset, tmp_path: Path) -> None:
    own = replace(data, stimuli=[replace(data.stimuli[0], sigma=5.5), *data.stimuli[1:]])
    write_csv_folder(own, tmp_path / "toy")
    back = read_csv_folder(tmp_path / "toy", sigma=9.0)
    assert [s.sigma for s in back.stimuli] == [5.5, 2, 2, 2]


def test_drawn_images_become_png_files(tmp_path: Path) -> None:
    drawn = popout_dataset((2, 1, 1), size=(24, 32))
    write_csv_folder(drawn, tmp_path / "arrays")
    back = read_csv_folder(tmp_path / "arrays", sigma=2.0)
    assert [s.name for s in back.stimuli] == [f"{s.name}.png" for s in drawn.stimuli]
    assert all(
        torch.equal(a.read(), b.read()) and np.array_equal(a.fixations, b.fixations)
        for a, b in zip(drawn.stimuli, back.stimuli, strict=True)
    )


def test_a_folder_that_is_not_empty_is_left_alone(data: SaliencyDataset, tmp_path: Path) -> None:
    with pytest.raises(FileExistsError, match=r"release is there already; name a new folder"):
        write_csv_folder(data, tmp_path / "release")


def test_nothing_half_written_stays(data: SaliencyDataset, tmp_path: Path) -> None:
    (tmp_path / "release" / "c.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"c\.png"):
        write_csv_folder(data, tmp_path / "toy")
    assert [path.name for path in tmp_path.iterdir()] == ["release"]


@pytest.mark.parametrize("name", ["../a.png", "/tmp/a.png"])
def test_a_name_that_leads_out_of_the_folder_is_refused(
    data: SaliencyDataset, tmp_path: Path, name: str
) -> None:
    bad = replace(data, stimuli=[replace(data.stimuli[0], name=name)], splits={"train": [0]})
    with pytest.raises(ValueError, match="leads out of the folder"):
        write_csv_folder(bad, tmp_path / "toy")


def test_images_alone_are_refused(data: SaliencyDataset, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="images only"):
        write_csv_folder(replace(data, hidden=True), tmp_path / "toy")
