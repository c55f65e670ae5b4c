import pytest
from rich.console import Console

from deepsal.runs.folder import JobOutcome
from deepsal.sweeps.job_table import print_job_table, run_with_table


def test_the_table_fits_80_columns_and_a_failure_is_the_exit_code(
    capsys: pytest.CaptureFixture[str],
) -> None:
    good = JobOutcome("0-resnet18-conv5-kl_cc_nss-s0", "done", 0.5, "", "val/nss")
    bad = JobOutcome("1-" + "x" * 60, "failed", reason="ValueError: stages [conv8] " + "y" * 90)
    assert print_job_table([good]) == 0
    assert print_job_table([good, bad], Console(width=80)) == 1
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert any("1 done, 1 failed, 0 skipped" in line for line in lines)
    assert any("[conv8]" in line for line in lines)


def test_the_score_is_named_by_its_metric(capsys: pytest.CaptureFixture[str]) -> None:
    trained = JobOutcome("0-a", "done", 0.5, "", "val/cc")
    failed = JobOutcome("1-b", "failed", reason="exit code 1")
    print_job_table([trained, failed])
    assert capsys.readouterr().out.split("\n")[2].split() == ["job", "status", "val/cc", "reason"]
    print_job_table([trained, failed, JobOutcome("2-c", "skipped", 2.5, "done before", "test/nss")])
    lines = [line.split() for line in capsys.readouterr().out.split("\n")]
    assert ["job", "status", "score", "reason"] in lines
    assert ["0-a", "done", "val/cc", "0.5000"] in lines
    assert ["2-c", "skipped", "test/nss", "2.5000", "done", "before"] in lines


def test_a_sweep_that_a_signal_ends_has_its_table_and_the_signals_exit_code(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run() -> None:
        raise SystemExit(143)

    interrupted = JobOutcome("0-a", "failed", reason="interrupted")
    with pytest.raises(SystemExit, match="143"):
        run_with_table(run, [interrupted])
    assert "interrupted" in capsys.readouterr().out
    assert run_with_table(lambda: None, [interrupted]) == 1
    assert run_with_table(lambda: None, []) == 0
