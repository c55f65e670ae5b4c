import io
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from deepsal.report.tables import formats, runs
from tests.report.support import write_tested_run, write_tested_runs


def compared(folder: Path) -> runs.RunComparison:
    return runs.compare_runs(write_tested_runs(folder))


def test_markdown_has_intervals_the_best_in_bold_and_how_it_was_scored(tmp_path: Path) -> None:
    result = compared(tmp_path)
    text = formats.markdown_table(result)
    assert text.startswith("OSIE 2014, 40 test images at their own size; protocol tuebingen")
    lines = {
        line.split("|")[1].strip(): line
        for line in text.splitlines()
        if " ± 0" in line and "|" in line
    }
    low, high = (result.means["c"]["nss"][key] for key in ("low", "high"))
    assert f"{result.means['c']['nss']['mean']:.3f} ± {(high - low) / 2:.3f}" in lines["c"]
    assert lines["a"].count("**") == 0
    assert lines["b_2"].count("**") + lines["c"].count("**") >= 6
    assert "1.000 ± 0.000" in lines["centre"]
    assert "KL ↓" in text
    assert "| a – c |" in text


def test_csv_and_latex_say_the_same(tmp_path: Path) -> None:
    result = compared(tmp_path)
    formats.write_table(result, tmp_path / "t.csv")
    table = pd.read_csv(tmp_path / "t.csv", comment="#").set_index(["run", "score"])
    assert table.loc[("c", "nss"), "mean"] == pytest.approx(result.means["c"]["nss"]["mean"])
    assert table["best"].sum() == 2
    formats.write_table(result, tmp_path / "t.tex")
    text = (tmp_path / "t.tex").read_text()
    assert r"b\_2 & " in text
    assert text.count(r"\\") == 5  # a head, three runs, the centre
    assert r"\textbf{" in text
    assert not list(tmp_path.glob(".*"))


def test_a_single_run_needs_no_test(tmp_path: Path) -> None:
    text = formats.markdown_table(runs.compare_runs([write_tested_run(tmp_path / "a", 0.0, 1)]))
    assert "Wilcoxon" not in text


def test_another_ending_is_refused_with_the_choices(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\.md, \.csv, \.tex"):
        formats.write_table(compared(tmp_path), tmp_path / "t.doc")


def test_what_is_printed_fits_eighty_columns(tmp_path: Path) -> None:
    out = io.StringIO()
    formats.print_comparison(compared(tmp_path), Console(file=out, width=80, highlight=False))
    text = out.getvalue()
    assert "protocol tuebingen" in text
    assert "KL↓" in text
    assert "a – c" in text
    assert max(len(line) for line in text.splitlines()) <= 80


def test_a_test_that_could_not_be_made_is_a_dash(tmp_path: Path) -> None:
    folders = [
        write_tested_run(tmp_path / n, g, s, images=3) for n, g, s in (("a", 0.0, 1), ("b", 0.5, 2))
    ]
    text = formats.markdown_table(runs.compare_runs(folders))
    assert "| a – b | – | – |" in text
    assert "nan" not in text
