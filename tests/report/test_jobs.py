import os
from pathlib import Path

import pytest
from rich.console import Console

from deepsal.report import jobs


def made(folder: Path, config: str = "seed: 0\n") -> Path:
    (folder / "config.yaml").write_text(config)
    return folder


def test_a_job_is_finished_only_with_the_configuration_it_ran_with(tmp_path: Path) -> None:
    jobs.finish(made(tmp_path), 0.5)
    assert jobs.finished(tmp_path, "seed: 0\n", "a") == jobs.Job("a", "skipped", 0.5, "done before")
    assert jobs.finished(tmp_path, "seed: 1\n") is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}"])
def test_a_marker_that_is_not_one_is_no_marker(text: str, tmp_path: Path) -> None:
    (made(tmp_path) / "done").write_text(text)
    assert jobs.finished(tmp_path, "seed: 0\n") is None


def test_how_a_process_ended(tmp_path: Path) -> None:
    made(tmp_path)
    assert jobs.ended(tmp_path, "seed: 0\n", -9, "a").reason == "killed by SIGKILL"
    assert jobs.ended(tmp_path, "seed: 0\n", 3, "a").reason == "exit code 3"
    assert jobs.ended(tmp_path, "seed: 0\n", 0, "a").how == "failed"  # it left no score
    (tmp_path / "status").write_text("failed: ValueError: metric=val/bleu\n")
    assert jobs.ended(tmp_path, "seed: 0\n", 1, "a").reason == "ValueError: metric=val/bleu"
    jobs.finish(tmp_path, 0.25)
    assert jobs.ended(tmp_path, "seed: 0\n", 0, "a") == jobs.Job("a", "done", 0.25)


def test_the_table_fits_80_columns_and_a_failure_is_the_exit_code(
    capsys: pytest.CaptureFixture[str],
) -> None:
    good = jobs.Job("0-resnet18-conv5-kl_cc_nss-s0", "done", 0.5)
    bad = jobs.Job("1-" + "x" * 60, "failed", reason="ValueError: stages [conv8] " + "y" * 90)
    assert jobs.show([good], "val/nss") == 0
    assert jobs.show([good, bad], "val/nss", Console(width=80)) == 1
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert any("1 done, 1 failed, 0 skipped" in line for line in lines)
    assert any("[conv8]" in line for line in lines)


def test_no_rank_of_a_training_reaches_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in jobs.RANKS:
        monkeypatch.setenv(name, "1")
    assert not set(jobs.RANKS) & set(jobs.environment(os.environ))
