from pathlib import Path

import pytest

from deepsal.report.__main__ import main
from deepsal.runs import score_files
from tests.report.support import write_sweep


def test_a_command_writes_its_page_and_says_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_sweep(tmp_path)
    assert main(["sweep", str(folder)]) == 0
    assert capsys.readouterr().out == f"{folder / 'report.html'}\n"
    assert main(["page", str(folder / "0-vgg16-conv5")]) == 0
    assert (folder / "0-vgg16-conv5" / "report.html").stat().st_size > 1000
    for one in (folder, folder / "0-vgg16-conv5"):
        (one / "report.html").unlink()
        assert main([str(one)]) == 0
        assert (one / "report.html").is_file()


def test_the_table_goes_to_the_terminal_or_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    score_files.write_scores(
        tmp_path, [{"name": "a", "nss": 1.5}, {"name": "b", "nss": 2.5}], "OSIE"
    )
    assert main(["table", str(tmp_path)]) == 0
    assert "2.00±.50" in capsys.readouterr().out
    file = tmp_path / "table.tex"
    assert main(["table", str(tmp_path), "--to", str(file)]) == 0
    assert "tabular" in file.read_text()
    assert capsys.readouterr().out == f"{file}\n"


def test_a_wrong_folder_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["page", str(tmp_path)]) == 1
    assert f"{tmp_path} is no run folder" in capsys.readouterr().err
    assert main(["nonsense"]) == 2
    assert "No such command" in capsys.readouterr().err
