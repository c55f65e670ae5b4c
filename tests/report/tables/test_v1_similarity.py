from pathlib import Path

import pandas as pd
import pytest

from deepsal.report.__main__ import main
from deepsal.report.tables.v1_similarity import write_v1_table
from tests.report.v1_result import write_v1_result


def test_each_stage_of_each_network_is_a_row(tmp_path: Path) -> None:
    write_v1_result(tmp_path / "run")
    assert main(["v1", str(tmp_path / "run"), "--to", str(tmp_path / "v1.csv")]) == 0
    table = pd.read_csv(tmp_path / "v1.csv")
    assert table["network"].tolist() == ["after training", "untrained"]
    assert table["ssi"].iloc[0] == 0.9
    assert table["ssi"].isna().tolist() == [False, True]


def test_papers_get_intervals(tmp_path: Path) -> None:
    write_v1_result(tmp_path / "run_a")
    latex = write_v1_table([tmp_path / "run_a"], tmp_path / "v1.tex").read_text()
    assert r"run\_a & after training & conv3 & 5/8 & 0.90 [0.80, 1.00]" in latex
    assert latex.count(r"\\") == 3
    markdown = write_v1_table([tmp_path / "run_a"], tmp_path / "v1.md").read_text()
    assert "| untrained | conv3 | 0/8 | – |" in markdown


def test_a_run_without_the_step_or_another_format_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"do=\[v1\]"):
        write_v1_table([tmp_path], tmp_path / "v1.csv")
    with pytest.raises(ValueError, match=r"\.md, \.csv, \.tex"):
        write_v1_table([tmp_path], tmp_path / "v1.xls")
