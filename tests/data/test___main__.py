from functools import partial
from pathlib import Path

import pytest

from deepsal.data import dataset_cards, popout_dataset, read_csv_folder, write_csv_folder
from deepsal.data.__main__ import main


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_csv_folder(popout_dataset((3, 1, 1), size=(24, 32)), tmp_path / "arrays")
    return tmp_path


def test_cards_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cards"]) == 0
    assert capsys.readouterr().out == f"{dataset_cards()}\n"


def test_a_sound_folder_exits_with_0(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "arrays", "--data", str(root)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "sound"


def test_a_faulty_folder_exits_with_1_and_names_the_file(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = sorted((root / "arrays" / "images").iterdir())[0]
    image.write_bytes(image.read_bytes()[:200])
    assert main(["check", "arrays", "--data", str(root)]) == 1
    assert image.name in capsys.readouterr().out


def test_export_says_how_to_use_what_it_wrote(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "arrays", "--data", str(root), "--to", str(root / "copy")]) == 0
    assert f"data=folder data.dataset.path={root}/copy" in capsys.readouterr().out
    assert len(read_csv_folder(root / "copy", 1.0).stimuli) == 5


def test_generated_arrays_are_checked_and_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = partial(popout_dataset, (3, 1, 1), size=(24, 32))
    monkeypatch.setattr("deepsal.data.index.popout_dataset", small)
    assert main(["check", "popout"]) == 0
    assert main(["export", "popout", "--to", str(tmp_path / "copy")]) == 0
    assert "data.dataset.sigma=1" in capsys.readouterr().out
    assert len(read_csv_folder(tmp_path / "copy", 1.0).stimuli) == 5


@pytest.mark.parametrize("name", ["arrays", "popout"])
def test_a_sheet_is_drawn(root: Path, name: str) -> None:
    assert main(["sheet", name, "--data", str(root), "--to", str(root / "a.png")]) == 0
    assert (root / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_missing_data_set_is_one_line(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "osie", "--data", str(root)]) == 1
    message = capsys.readouterr().err
    assert message.startswith("no OSIE here: ")
    assert "set --data FOLDER" in message
    assert "data_dir" not in message
    assert "data=" not in message


def test_an_unknown_release_is_one_line(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fetch", "salt", "--to", str(root)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("no address is known for 'salt'; the choices are osie, ")


@pytest.mark.parametrize("command", ["", "cards", "fetch", "check", "sheet", "export"])
def test_the_help_fits_80_columns(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main([*command.split(), "--help"]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_a_missing_option_exits_with_2_and_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "osie"]) == 2
    assert "--to" in capsys.readouterr().err
