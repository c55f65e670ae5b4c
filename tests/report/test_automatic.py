from itertools import combinations
from pathlib import Path

import pytest

from deepsal.callbacks.watch_options import PATCH_SOURCES
from deepsal.report import automatic
from tests.report.support import write_two_checkpoints

SOURCES = [chosen for count in (1, 4) for chosen in combinations(PATCH_SOURCES, count)]


def test_a_sweep_without_a_begun_job_has_no_page(tmp_path: Path) -> None:
    (tmp_path / "0-a").mkdir()
    automatic.report_sweep(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_a_sweep_has_a_page_as_soon_as_a_job_has_a_status(tmp_path: Path) -> None:
    (tmp_path / "0-a").mkdir()
    (tmp_path / "0-a" / "status").write_text("failed: no data\n")
    (tmp_path / "0-a" / "config.yaml").write_text("seed: 0\n")
    automatic.report_sweep(tmp_path)
    assert "failed: no data" in (tmp_path / "report.html").read_text()


def test_a_part_that_fails_is_reported_and_the_next_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(folder: Path, title: str) -> None:
        raise OSError(f"no figure of {title}")

    monkeypatch.setattr("deepsal.report.figures.change.draw_field_change", refuse)
    (tmp_path / "config.yaml").write_text("name: a\n")
    automatic.report_run(tmp_path, "a on popout")
    assert (tmp_path / "report.html").is_file()
    printed = capsys.readouterr()
    assert (
        "no report: OSError: no figure of a on popout; to try again: python -m deepsal.report"
        in printed.err
    )
    assert f"Everything is in {tmp_path}" in printed.out


@pytest.mark.parametrize("sources", SOURCES, ids="-".join)
def test_fields_of_any_sources_have_a_figure_a_page_and_a_summary(
    sources: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_two_checkpoints(tmp_path, sources)
    (tmp_path / "config.yaml").write_text("name: a\n")
    (tmp_path / "figures").mkdir()
    automatic.report_run(tmp_path, "a on popout")
    printed = capsys.readouterr()
    assert not printed.err
    assert f"Receptive fields on {sources[0]} patches" in printed.out
    assert "Receptive fields through training" in (tmp_path / "report.html").read_text()
    assert (tmp_path / "figures" / "change.png").is_file()
