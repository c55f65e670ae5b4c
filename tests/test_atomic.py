from pathlib import Path

import pytest

from deepsal import atomic


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
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
