import json
import subprocess
import sys
from pathlib import Path

import pytest

from deepsal.__main__ import main
from tests.runs.support import write_small_run
from tests.support import RECORD_MODULES, ROOT


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_small_run(Path("runs/day/a-s0"), nss=2.0, hour=1)
    write_small_run(Path("runs/day/b-s1"), nss=3.0, hour=2, seed=1)
    write_small_run(Path("runs/day/c-s2"), "failed: ValueError: no", hour=3, seed=2)
    return tmp_path


def test_runs_are_listed_with_a_count(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "ls"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("runs/")] == [
        *("runs/day/a-s0", "runs/day/b-s1", "runs/day/c-s2")
    ]
    assert lines[-1] == "3 runs: 2 done, 1 failed"
    assert main(["runs", "ls", "runs/day", "--sort", "nss", "--where", "state=done", "--json"]) == 0
    best, other = json.loads(capsys.readouterr().out)
    assert (best["options"], other["options"]) == ({"seed": 1}, {"seed": 0})
    assert best["folder"] == str(runs / "runs" / "day" / "b-s1")


def test_runs_are_listed_from_a_time_on(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "ls", "--since", "2026-11-26T02:00:00+00:00"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("runs/")] == [
        "runs/day/b-s1",
        "runs/day/c-s2",
    ]
    assert lines[-1] == "2 runs: 1 done, 1 failed"
    assert main(["runs", "ls", "--since", "0s"]) == 0
    assert capsys.readouterr().out == "0 runs\n"


def test_the_best_run_may_be_a_path_alone(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "best", "--path"]) == 0
    assert capsys.readouterr().out == "runs/day/b-s1\n"
    assert main(["runs", "best", "--by", "nss", "--where", "seed=0"]) == 0
    assert capsys.readouterr().out == "runs/day/a-s0  nss 2.000 test\n"
    assert main(["runs", "best", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["scores"]["nss"]["mean"] == 3.0


def test_the_best_run_is_a_smoke_run_only_on_request(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_small_run(Path("runs/day/smoke"), nss=9.0, trainer={"name": "smoke"})
    assert main(["runs", "best", "--path"]) == 0
    assert capsys.readouterr().out == "runs/day/b-s1\n"
    assert main(["runs", "best", "--path", "--where", "trainer=smoke"]) == 0
    assert capsys.readouterr().out == "runs/day/smoke\n"


def test_a_run_is_shown_by_a_part_of_its_name(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["runs", "show", "s1"]) == 0
    assert capsys.readouterr().out.startswith("runs/day/b-s1\n  state      done\n")
    assert main(["runs", "show", "runs/day/a-s0", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["commit"].startswith("abcdef")
    assert main(["runs", "show", "day"]) == 1
    assert "show day is part of the names of 3 runs" in capsys.readouterr().err
    assert main(["runs", "show", "runs"]) == 1
    assert "runs is no run folder" in capsys.readouterr().err


def test_failed_runs_are_removed_only_with_yes(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = runs / "runs" / "day" / "c-s2"
    assert main(["runs", "rm-failed"]) == 0
    assert "1 failed or interrupted; to remove them: --yes" in capsys.readouterr().out
    assert folder.is_dir()
    assert main(["runs", "rm-failed", "--yes"]) == 0
    assert capsys.readouterr().out.endswith("1 of 1 removed\n")
    assert not folder.exists()
    assert len(list(folder.parent.iterdir())) == 2


def test_an_unreadable_run_is_one_line_and_the_others_are_listed(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("runs/day/a-s0/scores.json").write_text("{")
    assert main(["runs", "ls"]) == 0
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1
    assert "a-s0 is unreadable and left out" in printed.err
    assert "2 runs: 1 done, 1 failed" in printed.out


def test_a_wrong_option_is_one_line(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in (
        (["ls", "gone"], "gone is no folder"),
        (["ls", "--sort", "bleu"], "no score 'bleu'"),
        (
            ["ls", "--since", "2x"],
            "--since 2x: set a date such as 2026-11-20, or an age such as 2d",
        ),
        (["best", "--where", "sed=1"], "no run has the option sed; the nearest: seed"),
        (["best", "--where", "seed=2"], "none of 1 runs is a finished training"),
    ):
        assert main(["runs", *arguments]) == 1
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_a_list_imports_neither_torch_nor_pandas(runs: Path) -> None:
    script, modules = str(ROOT / "deepsal" / "__main__.py"), runs / "modules"
    command = [sys.executable, "-c", RECORD_MODULES, str(modules), script, "runs", "ls"]
    done = subprocess.run(command, cwd=runs, env={"PYTHONPATH": str(ROOT)}, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    packages = {name.partition(".")[0] for name in modules.read_text().split()}
    assert not packages & {"torch", "numpy", "pandas", "matplotlib", "hydra"}
