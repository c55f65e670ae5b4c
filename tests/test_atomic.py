import json
from pathlib import Path

import pytest

from deepsal import atomic


def test_a_file_is_replaced_and_no_other_is_left(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    for text in ("first", "Größe"):
        assert atomic.write_text(file, text) == file
        assert file.read_text(encoding="utf-8") == text
    assert [*tmp_path.iterdir()] == [file]


def test_a_text_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    file = atomic.write_text(tmp_path / "page.html", "old")
    with pytest.raises(UnicodeEncodeError):
        atomic.write_text(file, "new \udcff")
    assert file.read_text() == "old"
    assert [*tmp_path.iterdir()] == [file]


def test_the_old_file_is_read_until_the_block_ends(tmp_path: Path) -> None:
    file = tmp_path / "map.png"
    file.write_bytes(b"old")
    with atomic.replace_file(file) as temporary:
        assert temporary.parent == tmp_path
        temporary.write_bytes(b"new")
        assert file.read_bytes() == b"old"
        assert [*tmp_path.glob("*.png")] == [file]
    assert file.read_bytes() == b"new"
    assert [*tmp_path.iterdir()] == [file]


@pytest.mark.parametrize("part", [b"part", None])
def test_an_error_in_the_block_leaves_the_old_file(tmp_path: Path, part: bytes | None) -> None:
    def write() -> None:
        with atomic.replace_file(file) as temporary:
            if part is not None:
                temporary.write_bytes(part)
            raise OSError("the disk is full")

    file = tmp_path / "maps.hdf5"
    file.write_bytes(b"old")
    with pytest.raises(OSError, match="full"):
        write()
    assert file.read_bytes() == b"old"
    assert [*tmp_path.iterdir()] == [file]


@pytest.mark.parametrize("complete", [True, False])
def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path, complete: bool) -> None:
    def write() -> None:
        with atomic.replace_file(tmp_path / "maps") as temporary:
            temporary.mkdir()
            (temporary / "a.png").touch()
            if not complete:
                raise OSError("the disk is full")

    if complete:
        write()
        assert [*tmp_path.rglob("*")] == [tmp_path / "maps", tmp_path / "maps" / "a.png"]
    else:
        with pytest.raises(OSError, match="full"):
            write()
        assert not [*tmp_path.iterdir()]


def test_json_has_null_for_numbers_that_are_not_finite_and_texts_as_they_are(
    tmp_path: Path,
) -> None:
    value = {"note": "NaN is not Infinity", "rows": [(1.5, float("nan")), {"p": float("inf")}]}
    text = atomic.write_json(tmp_path / "verdict.json", value).read_text()
    expected = {"note": "NaN is not Infinity", "rows": [[1.5, None], {"p": None}]}
    assert json.loads(text, parse_constant=pytest.fail) == expected
