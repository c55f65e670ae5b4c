import json
import subprocess
import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from tests.bench.harness import ROOT
from tests.gpu import checks as checks_of_gpu
from tests.gpu.__main__ import record, table
from tests.gpu.checks import Check, outcome, process, survived, trained

CHECKS = [
    Check("demo: all, s", 61.2),
    Check("fields/vgg16/conv3/480x640, ratio", 69.0, at_least=70.0),
    Check("watched: fields, % of the rest", 25.0, at_most=25.0),
    Check(
        "one process of DDP", note="first\nOSError: [/tmp/x] no NCCL " + "long " * 30, failed=True
    ),
]


def test_a_check_is_good_enough_or_is_not() -> None:
    assert [check.passed for check in CHECKS] == [True, False, True, False]
    assert Check("x", 70.0, at_least=70.0).passed
    assert not Check("x", 25.1, at_most=25.0).passed
    assert Check("a run that ended").passed


def test_a_process_that_failed_says_why_in_its_last_line() -> None:
    command = [sys.executable, "-c", "import sys; print('why\\n', file=sys.stderr); sys.exit(3)"]
    check = outcome("x", subprocess.run(command, capture_output=True, text=True), 1.0)
    assert (check.passed, check.note) == (False, "why")
    command = [sys.executable, "-c", "import sys; print('1 failed'); sys.exit(1)"]
    assert outcome("x", process(command)).note == "1 failed", "pytest says it there"
    done = subprocess.run([sys.executable, "-c", ""], capture_output=True, text=True)
    assert outcome("x", done) == Check("x")


def test_an_error_in_this_process_is_a_failed_check() -> None:
    def checks() -> Iterator[Check]:
        yield Check("one", 1.0)
        raise RuntimeError("CUDA error")

    one, failed = survived("the rest", checks)
    assert one.passed
    assert (failed.name, failed.note, failed.passed) == (
        "the rest",
        "RuntimeError: CUDA error",
        False,
    )


def test_a_training_without_fields_is_a_failed_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for said, passed in (
        ("", False),
        ("receptive fields took 5 s, 20 % of the training time", True),
    ):
        done = subprocess.CompletedProcess([], 0, said, "")
        monkeypatch.setattr(checks_of_gpu, "run", lambda *given, done=done: done)
        assert all(check.passed for check in trained("x", tmp_path, [], 25.0)) == passed


def test_the_table_fits_80_columns_and_the_record_holds_everything(tmp_path: Path) -> None:
    page = StringIO()
    Console(file=page, width=80).print(table(CHECKS))
    text = page.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    for word in ("≥ 70", "≤ 25", "FAILED", "no NCCL", "61.2"):
        assert word in text
    assert "[/tmp/x]" in text, "no markup"
    written = json.loads(record(CHECKS, "cpu", tmp_path / "bench").read_text())
    assert [check["passed"] for check in written["checks"]] == [True, False, True, False]
    assert {"versions", "commit", "machine", "cards"} <= set(written)


@pytest.mark.slow
def test_the_checks_themselves_work_without_a_gpu(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.gpu", "--small", "--to", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("demo: all", "resumed after a kill", "one process of DDP", "pipeline/resnet18"):
        assert name in done.stdout
    assert [file.name for file in tmp_path.iterdir()] == ["gpu.json"]
