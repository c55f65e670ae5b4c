from pathlib import Path

import pytest

from deepsal.report.__main__ import main
from deepsal.runs import score_files
from tests.report.support import write_run, write_sweep, write_tested_run


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
    (tmp_path / "file").touch()
    for name in (f"{tmp_path}/gone", "nowhere", f"{tmp_path}/file"):
        assert main([name]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"there is no run folder or sweep folder {name}; name one (`python ")
        assert line.endswith("one of the commands figures, page, sweep, table, v1, workspace")
    assert main(["--nonsense"]) == 2
    assert "No such option" in capsys.readouterr().err


def test_a_damaged_configuration_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.yaml").write_text("seed: [")
    assert main([str(tmp_path)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{tmp_path / 'config.yaml'} is damaged" in line


def test_a_baseline_scored_on_other_images_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, other = write_run(tmp_path / "a" / "run"), write_tested_run(tmp_path / "b", 0.0, 1)
    assert main(["page", str(run), "--baselines", str(run), "--baselines", str(other)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"{other} was not scored as {run}: dataset is OSIE 2014")
    assert error.count("\n") == 1


def test_the_help_of_every_command_fits_eighty_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for command in ("page", "sweep", "table", "figures", "workspace"):
        assert main([command, "--help"]) == 0
        text = capsys.readouterr().out
        assert f"python -m deepsal.report {command}" in text
        assert max(map(len, text.splitlines())) <= 80
