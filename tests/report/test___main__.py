from pathlib import Path

import pytest

from deepsal.report import scores
from deepsal.report.__main__ import main


def test_the_table_goes_to_the_terminal_or_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores.write(tmp_path, [{"name": "a", "nss": 1.5}, {"name": "b", "nss": 2.5}], "OSIE")
    main(["table", str(tmp_path)])
    assert "2.000 ± 0.5" in capsys.readouterr().out
    main(["table", str(tmp_path), "--to", str(tmp_path / "table.tex")])
    assert "tabular" in (tmp_path / "table.tex").read_text()
    assert not capsys.readouterr().out


def test_a_wrong_folder_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["table", str(tmp_path / "none")])
    assert stopped.value.code == 1
    assert capsys.readouterr().err.count("\n") == 1
