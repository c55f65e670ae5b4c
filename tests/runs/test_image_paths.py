import os
from pathlib import Path

import pytest

from deepsal.runs.image_paths import compared_pictures, list_pictures, output_names


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("a/x.jpg", "a/b/Y.JPG", "a/b/z.HEIC", "a/notes.txt", "a/.hidden.png", "out/x.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_files_folders_and_patterns_are_listed_once(root: Path) -> None:
    files = [root / "a" / name for name in ("b/Y.JPG", "b/z.HEIC", "x.jpg")]
    assert list_pictures([str(root / "a")]) == files
    assert list_pictures([str(root / "a" / "**" / "*.jpg")]) == files[2:]
    named = [str(root / "a" / "x.jpg"), str(root / "a"), str(root / "a" / "b" / ".." / "x.jpg")]
    assert list_pictures(named) == [files[2], *files[:2]]
    assert list_pictures([str(root / "a" / "notes.txt"), "gone.jpg"])[1] == Path("gone.jpg")


def test_a_search_leaves_the_outputs_out(root: Path) -> None:
    assert root / "out" / "x.png" not in list_pictures([str(root)], root / "out")
    assert list_pictures([str(root / "out" / "x.png")], root / "out")


def test_a_folder_and_a_pattern_without_an_image_are_named(root: Path) -> None:
    (root / "empty").mkdir()
    for argument in (root / "empty", root / "*.jpg", root / "out"):
        with pytest.raises(ValueError, match=r"holds no image \(\.avif"):
            list_pictures([str(argument)], root / "out")


def test_no_two_outputs_have_one_name(tmp_path: Path) -> None:
    names = ["a/x.jpg", "b/x.jpg", "b/X.png", "b/x.JPG", "b/x.jpg.png", "../c/x.jpg"]
    pictures = [tmp_path / name for name in names]
    outputs = output_names(pictures)
    assert [*outputs] == pictures
    assert len({name.casefold() for name in outputs.values()}) == len(names)
    assert not any(name.startswith(("/", "..")) for name in outputs.values())
    folder = tmp_path.name
    assert outputs[pictures[0]] == f"{folder}/a/x"
    assert outputs[pictures[5]] == "c/x"


def test_one_image_is_named_after_itself_but_not_after_a_comparison(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert output_names([Path("x.tar.jpg")]) == {Path("x.tar.jpg"): "x.tar"}
    assert output_names([Path("Comparison.jpg")]) == {Path("Comparison.jpg"): "Comparison.jpg"}
    assert output_names([]) == {}


def test_two_different_files_are_compared(root: Path) -> None:
    pictures = list_pictures([str(root / "a")])
    pair = os.path.relpath(pictures[0]), str(pictures[2])
    assert compared_pictures(pair, pictures) == (pictures[0], pictures[2])
    for pair in ((str(root / "a"), str(pictures[0])), (str(pictures[0]), str(pictures[0]))):
        with pytest.raises(ValueError, match="set two different image files"):
            compared_pictures(pair, pictures)
