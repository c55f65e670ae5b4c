from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.io import savemat

from deepsal.data import nus_scene
from deepsal.data.maps import rasterise
from tests.data.conftest import Refetch, same, stays

release = import_module("deepsal.data.nus_scene")
COUNT = 150
SIZES = [(8, 6), (12, 16)]


def rows(i: int) -> NDArray[np.float64]:
    """Two fixations in (y, x, start_s, duration_s): on pixel (i % 8, 2), and in the last corner."""
    width, height = SIZES[i % 2]
    return np.array([[2.4, i % 8 + 0.9, 0.3, 0.2], [height - 0.07, width - 0.07, 0.5, 0.1]])


def write(matrix: Path, count: int = COUNT) -> None:
    cells = np.empty((count, 3), dtype=object)
    for i in range(count):
        cells[i] = [rows(i), np.empty((0, 0), np.uint8), rows(i)[:1]]
    savemat(matrix, {"fixations": cells})


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Few scenes of two sizes in the layout of the release; the second observer saw none."""
    card = replace(release.CARD, images=COUNT, fixations=3 * COUNT)
    monkeypatch.setattr(release, "CARD", card)
    data = tmp_path / "nus_scene" / "data"
    (data / "stimuli").mkdir(parents=True)
    (data / "tidy").mkdir()
    for i in range(COUNT):
        image = Image.new("RGB", SIZES[i % 2])
        image.putpixel((i % 8, 2), (255, 255, 255))
        image.save(data / "stimuli" / f"{i + 1:03d}.jpg", quality=100, subsampling=0)
    write(data / "tidy" / "fixations.mat")
    return tmp_path


def test_the_planted_pixel_is_fixated_and_nothing_is_lost_at_the_border(fake: Path) -> None:
    for stimulus in nus_scene(fake).stimuli:
        image = stimulus.read()[0]
        brightest = np.unravel_index(int(image.argmax()), image.shape)[::-1]
        assert np.abs(stimulus.fixations[0] - brightest).max() <= 0.5
        counts = rasterise(torch.from_numpy(stimulus.fixations), stimulus.size, stimulus.size)
        assert counts[brightest[1], brightest[0]] == 2
        assert counts[-1, -1] == 1


def test_an_empty_cell_is_an_observer_who_did_not_look(fake: Path) -> None:
    assert all(s.subjects.tolist() == [0, 0, 2] for s in nus_scene(fake).stimuli)


def test_the_split_is_fixed_and_whole(fake: Path) -> None:
    splits = nus_scene(fake).splits
    assert [len(splits[split]) for split in ("train", "val", "test")] == [10, 40, 100]
    assert sorted(i for split in splits.values() for i in split) == list(range(COUNT))


def test_the_blur_is_as_large_on_the_screen_for_every_image(fake: Path) -> None:
    for stimulus in nus_scene(fake).stimuli:
        height, width = stimulus.size
        assert stimulus.sigma is not None
        assert stimulus.sigma * min(1080 / height, 1920 / width) == pytest.approx(33.75)


def test_a_missing_table_says_which_option_to_set(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"fixations\.mat is missing; set data_dir=FOLDER"):
        nus_scene(tmp_path)


def test_a_missing_image_is_named(fake: Path) -> None:
    (fake / "nus_scene" / "data" / "stimuli" / "003.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"incomplete: .*003\.jpg is missing"):
        nus_scene(fake)


def test_a_file_that_is_no_table_is_named(fake: Path) -> None:
    (fake / "nus_scene" / "data" / "tidy" / "fixations.mat").write_bytes(b"<html>404</html>")
    with pytest.raises(ValueError, match=r"fixations\.mat is not a fixation file of NUS scenes"):
        nus_scene(fake)


def test_wrong_counts_are_told(fake: Path) -> None:
    write(fake / "nus_scene" / "data" / "tidy" / "fixations.mat", COUNT - 1)
    with pytest.raises(ValueError, match=r"holds 149 images and 447 fixations.* 150 and 450"):
        nus_scene(fake)


def test_what_is_fetched_is_what_is_read(fake: Path, refetch: Refetch) -> None:
    archives: dict[str, tuple[str, str]] = {}
    there = refetch("nus_scene", fake / "nus_scene", archives)
    assert same(nus_scene(there), nus_scene(fake))


def test_a_planted_pixel_stays_under_its_fixation_through_crop_flip_and_resize(fake: Path) -> None:
    assert stays(nus_scene(fake)) > 1


@pytest.mark.data
def test_the_release_is_whole(data_dir: Path) -> None:
    data = nus_scene(data_dir)
    assert len(data.stimuli) == 500
    assert sum(len(s.fixations) for s in data.stimuli) == 43_894
    assert sum(len(np.unique(s.subjects)) for s in data.stimuli) == 6000 - 52
    assert sum(s.size == (256, 256) for s in data.stimuli) == 311
    assert [len(data.splits[split]) for split in ("train", "val", "test")] == [360, 40, 100]


@pytest.mark.data
def test_every_fixation_of_the_release_lies_on_its_image_and_touches_both_borders(
    data_dir: Path,
) -> None:
    stimuli = nus_scene(data_dir).stimuli
    low = np.min([(s.fixations + 0.5).min(0) for s in stimuli], axis=0)
    high = np.min([(s.size[::-1] - s.fixations - 0.5).min(0) for s in stimuli], axis=0)
    assert ((low > 0) & (low < 1)).all()
    assert ((high > 0) & (high < 1)).all()


@pytest.mark.data
def test_coordinates_are_tenths_of_the_pixels_of_a_screen_of_1920x1080(data_dir: Path) -> None:
    for stimulus in nus_scene(data_dir).stimuli:
        size, screen = np.array(stimulus.size[::-1]), np.array([1920, 1080])
        shown = (screen / size).min()
        tenths = 10 * ((stimulus.fixations + 0.5) * shown + (screen - size * shown) / 2)
        assert np.abs(tenths - tenths.round()).max() < 1e-6
        assert stimulus.sigma is not None
        assert stimulus.sigma * shown == pytest.approx(33.75)
