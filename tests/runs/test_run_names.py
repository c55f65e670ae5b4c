from pathlib import Path

import pytest

from deepsal.runs.run_names import find_run, run_folders
from tests.runs.support import write_small_run


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    day = Path("runs/2026-11-27")
    for name in ("07-22-10-lite0-all-s0", "07-25-11-lite0-all-s1", "09-00-00-sweep/0-vgg16-s0"):
        write_small_run(day / name)
    write_small_run(Path("runs/scenes"))
    write_small_run(Path("runs/scenes-2"), "running")
    write_small_run(Path("runs/scenes/figures/not-a-run"))
    return tmp_path


def test_folders_of_runs_are_listed_in_order_and_outputs_are_not_searched(runs: Path) -> None:
    names = [folder.as_posix() for folder in run_folders(Path("runs"))]
    assert names == [
        "runs/2026-11-27/07-22-10-lite0-all-s0",
        "runs/2026-11-27/07-25-11-lite0-all-s1",
        "runs/2026-11-27/09-00-00-sweep/0-vgg16-s0",
        "runs/scenes",
        "runs/scenes-2",
    ]
    assert [*run_folders(Path("runs/scenes"))] == [Path("runs/scenes")]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("07-22", "2026-11-27/07-22-10-lite0-all-s0"),
        ("07-22-lite0", "2026-11-27/07-22-10-lite0-all-s0"),
        ("LITE0-ALL-S1", "2026-11-27/07-25-11-lite0-all-s1"),
        ("sweep/0", "2026-11-27/09-00-00-sweep/0-vgg16-s0"),
        ("vgg16", "2026-11-27/09-00-00-sweep/0-vgg16-s0"),
        ("runs/2026-11-27/07-25", "2026-11-27/07-25-11-lite0-all-s1"),
        ("scenes", "scenes"),
    ],
)
def test_a_run_is_found_by_a_part_of_its_name(text: str, name: str, runs: Path) -> None:
    assert find_run(text, "resume=") == Path("runs") / name


def test_a_path_that_exists_and_an_absolute_one_mean_what_they_meant(runs: Path) -> None:
    (runs / "lite0").mkdir()
    for text in ("lite0", "runs/scenes", str(runs / "gone"), "", "."):
        assert find_run(text, "resume=") == Path(text)


def test_several_runs_are_listed_and_without_one_the_nearest_are(runs: Path) -> None:
    with pytest.raises(ValueError, match=r"resume=lite0 is part of the names of 2 runs: runs/2026"):
        find_run("lite0", "resume=")
    with pytest.raises(FileNotFoundError, match=r"ckpt=scenery .* the nearest: runs/scenes.*; use"):
        find_run("scenery", "ckpt=", "checkpoints/best.ckpt")
    for n in range(9):
        write_small_run(Path(f"runs/many/{n}-x"))
    with pytest.raises(ValueError, match=r"names of 9 runs: .*runs/many/5-x, …; set more of one"):
        find_run("many", "resume=")


def test_only_runs_with_the_file_that_is_needed_match(runs: Path) -> None:
    assert find_run("scenes-", "resume=") == Path("runs/scenes-2")
    with pytest.raises(FileNotFoundError, match="scenes-2 does not exist, and no run below"):
        find_run("scenes-2", "ckpt=", "checkpoints/best.ckpt")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("vgg19", "2026-11-27/09-00-00-sweep/0-vgg16-s0"),
        ("07-22-11-lite0-all-s0", "2026-11-27/07-22-10-lite0-all-s0"),
        ("scene5", "scenes"),
    ],
)
def test_the_nearest_name_is_first(text: str, name: str, runs: Path) -> None:
    with pytest.raises(FileNotFoundError, match=f"; the nearest: runs/{name}[,;]"):
        find_run(text, "resume=")


@pytest.mark.parametrize("text", ["nothing", "nope", "x", "2025", "a/b/c"])
def test_without_a_near_name_the_error_names_the_list_of_runs(text: str, runs: Path) -> None:
    message = "in its name; `python -m deepsal runs ls` lists the runs; use resume=RUN_FOLDER$"
    with pytest.raises(FileNotFoundError, match=message):
        find_run(text, "resume=")


def test_without_any_run_the_error_has_no_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="in its name; `python -m deepsal runs ls` lists"):
        find_run("a", "resume=")
