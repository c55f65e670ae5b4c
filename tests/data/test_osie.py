from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from deepsal.data import osie
from tests.data.conftest import Refetch, same, stays

release = import_module("deepsal.data.osie")
COUNT = 203
NAMES = [f"{1001 + i}.jpg" for i in range(COUNT)]


def write(matrix: Path, names: Sequence[str] = NAMES) -> None:
    """Every image is fixated by three observers, twice, once and never, counted from 1."""
    kind = [("fix_x", object), ("fix_y", object)]
    cells = np.empty(len(names), dtype=object)
    for i, name in enumerate(names):
        subjects = np.empty(3, dtype=object)
        for j, (x, y) in enumerate([([1.0, 8.4], [1.0, 6.0]), ([i % 8 + 1.0], [2.5]), ([], [])]):
            subjects[j] = np.array((np.array(x), np.array(y)), dtype=kind)
        cells[i] = {"img": name, "subjects": subjects}
    savemat(matrix, {"fixations": cells.reshape(-1, 1)})


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small OSIE in the layout of the release, and counts to match."""
    card = replace(release.CARD, images=COUNT, fixations=3 * COUNT)
    monkeypatch.setattr(release, "CARD", card)
    monkeypatch.setattr(release, "TWINS", ("1005.jpg", "1007.jpg"))
    data = tmp_path / "osie" / "data"
    (data / "stimuli").mkdir(parents=True)
    (data / "eye").mkdir()
    for i, name in enumerate(NAMES):
        image = Image.new("RGB", (8, 6))
        image.putpixel((i % 8, 2), (255, 255, 255))
        image.save(data / "stimuli" / name, quality=100, subsampling=0)
    write(data / "eye" / "fixations.mat")
    return tmp_path


def test_coordinates_count_from_zero(fake: Path) -> None:
    data = osie(fake)
    for i, stimulus in enumerate(data.stimuli):
        assert stimulus.name == NAMES[i]
        assert stimulus.size == (6, 8)
        expected = np.array([[0, 0], [7.4, 5], [i % 8, 1.5]])
        assert np.allclose(stimulus.fixations, expected)
        assert stimulus.fixations.dtype == np.float64


def test_every_fixation_knows_its_observer(fake: Path) -> None:
    assert all(s.subjects.tolist() == [0, 0, 1] for s in osie(fake).stimuli)


def test_twins_are_both_in_training_and_no_image_is_left_out(fake: Path) -> None:
    splits = osie(fake).splits
    assert {4, 6} <= set(splits["train"])
    assert sorted(i for split in splits.values() for i in split) == list(range(COUNT))
    assert [len(splits[split]) for split in ("train", "val", "test")] == [3, 100, 100]


@pytest.mark.parametrize("there", [False, True])
def test_a_missing_folder_or_table_says_which_option_to_set(tmp_path: Path, there: bool) -> None:
    if there:
        (tmp_path / "osie" / "data" / "eye").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"fixations\.mat is missing; set data_dir=FOLDER"):
        osie(tmp_path)


def test_a_missing_image_is_named(fake: Path) -> None:
    (fake / "osie" / "data" / "stimuli" / "1003.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"OSIE is incomplete: .*1003\.jpg is missing"):
        osie(fake)


def test_an_unreadable_image_is_named(fake: Path) -> None:
    (fake / "osie" / "data" / "stimuli" / "1003.jpg").write_bytes(b"<html>404</html>")
    with pytest.raises(ValueError, match=r"1003\.jpg is not a readable image"):
        osie(fake)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>404 Not Found</html>",
        b"version https://git-lfs.github.com/spec/v1\n" * 4,
        b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM",
    ],
    ids=["empty", "page", "pointer", "matlab-7.3"],
)
def test_a_file_that_is_no_table_is_named(fake: Path, content: bytes) -> None:
    matrix = fake / "osie" / "data" / "eye" / "fixations.mat"
    matrix.write_bytes(content)
    with pytest.raises(ValueError, match=r"fixations\.mat is not a fixation file of OSIE"):
        osie(fake)


@pytest.mark.parametrize("part", [0.001, 0.1, 0.5, 0.999])
def test_a_truncated_table_is_named(fake: Path, part: float) -> None:
    matrix = fake / "osie" / "data" / "eye" / "fixations.mat"
    whole = matrix.read_bytes()
    matrix.write_bytes(whole[: round(part * len(whole))])
    with pytest.raises(ValueError, match=r"fixations\.mat is not a fixation file of OSIE"):
        osie(fake)


@pytest.mark.parametrize("content", [{"gaze": 1.0}, {"fixations": np.ones((3, 2))}])
def test_another_table_is_refused(fake: Path, content: dict[str, object]) -> None:
    matrix = fake / "osie" / "data" / "eye" / "fixations.mat"
    savemat(matrix, content)
    with pytest.raises(ValueError, match=r"fixations\.mat is not a fixation file of OSIE"):
        osie(fake)


def test_wrong_counts_are_told(fake: Path) -> None:
    write(fake / "osie" / "data" / "eye" / "fixations.mat", NAMES[:-1])
    with pytest.raises(ValueError, match=r"holds 202 images and 606 fixations.* 203 and 609"):
        osie(fake)


def test_what_is_fetched_is_what_is_read(fake: Path, refetch: Refetch) -> None:
    archives: dict[str, tuple[str, str]] = {}
    there = refetch("osie", fake / "osie", archives)
    assert same(osie(there), osie(fake))


def test_a_planted_pixel_stays_under_its_fixation_through_crop_flip_and_resize(fake: Path) -> None:
    assert stays(osie(fake)) > 1


@pytest.mark.data
def test_the_release_is_whole(data_dir: Path) -> None:
    data = osie(data_dir)
    assert len(data.stimuli) == 700
    assert sum(len(s.fixations) for s in data.stimuli) == 98_321
    assert {s.size for s in data.stimuli} == {(600, 800)}
    assert {int(s.subjects.max()) for s in data.stimuli} == {14}
    assert min(s.fixations.min() for s in data.stimuli) == pytest.approx(0.2)


@pytest.mark.data
def test_the_split_of_the_release_is_fixed(data_dir: Path) -> None:
    data = osie(data_dir)
    names = {split: [data.stimuli[i].name for i in at] for split, at in data.splits.items()}
    assert {split: len(set(members)) for split, members in names.items()} == {
        "train": 500,
        "val": 100,
        "test": 100,
    }
    assert len(set().union(*names.values())) == 700
    assert {"1279.jpg", "1374.jpg"} <= set(names["train"])


@pytest.mark.data
def test_the_twins_are_one_picture(data_dir: Path) -> None:
    images = {s.name: s.read() for s in osie(data_dir).stimuli if s.name in release.TWINS}
    first, second = (image.float() for image in images.values())
    assert (first - second).abs().max() <= 3
