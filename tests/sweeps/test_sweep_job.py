import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment

from deepsal.runs import folder as run_folder
from deepsal.runs import heartbeat, process
from deepsal.runs.folder import PREEMPTED_EXIT_CODE, JobOutcome
from deepsal.runs.heartbeat import hold_folder
from deepsal.sweeps import sweep_job
from deepsal.vocabulary import PREEMPTION_SIGNAL


def with_config(folder: Path, config: str = "seed: 0\n") -> Path:
    (folder / "config.yaml").write_text(config)
    return folder


def nothing() -> None: ...


def test_a_job_in_a_folder_of_another_configuration_does_not_touch_it(tmp_path: Path) -> None:
    with_config(tmp_path, "seed: 1\n")
    job = sweep_job.run_if_not_done(tmp_path, "seed: 0\n", nothing, lambda: pytest.fail("it ran"))
    assert "holds another configuration (seed)" in job.reason
    assert [file.name for file in tmp_path.glob("[!.]*")] == ["config.yaml"]


def test_a_job_whose_folder_is_in_use_writes_nothing_there(tmp_path: Path) -> None:
    with_config(tmp_path, "seed: 0\n")
    with hold_folder(tmp_path):
        before = {file: file.read_bytes() for file in tmp_path.iterdir()}
        job = sweep_job.run_if_not_done(
            tmp_path, "seed: 0\n", lambda: pytest.fail("prepared"), lambda: pytest.fail("it ran")
        )
        assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before
    assert f"process {os.getpid()} on " in job.reason


def test_a_job_that_was_moved_is_run_with_the_paths_of_its_new_folder(tmp_path: Path) -> None:
    here = f"output_dir: {tmp_path}\ndata_dir: /home/data\nseed: 0\n"
    with_config(tmp_path, "output_dir: /cluster/0-a\ndata_dir: /scratch\nseed: 0\n")
    (tmp_path / "status").write_text("failed: on purpose\n")
    job = sweep_job.run_if_not_done(tmp_path, here, nothing, lambda: 1)
    assert job.reason == "on purpose"
    assert (tmp_path / "config.yaml").read_text() == here


def test_a_done_job_is_not_prepared_again(tmp_path: Path) -> None:
    run_folder.mark_done(with_config(tmp_path), 0.5)
    job = sweep_job.run_if_not_done(
        tmp_path, "seed: 0\n", lambda: pytest.fail("prepared"), lambda: 1
    )
    assert (job.status, job.score) == ("skipped", 0.5)


def test_a_folder_that_cannot_be_made_ready_is_a_failed_job(tmp_path: Path) -> None:
    def prepare() -> None:
        raise PermissionError("cannot be written to")

    job = sweep_job.run_if_not_done(tmp_path, "seed: 0\n", prepare, lambda: 0)
    assert job.reason == "PermissionError: cannot be written to"


def test_another_rank_waits_for_the_first_ones_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_PROCID", "1")
    job = sweep_job.run_if_not_done(
        tmp_path, "seed: 0\n", lambda: pytest.fail("it wrote"), lambda: 0, 0.1
    )
    assert "has not written" in job.reason


HEAD = "import pathlib, signal, sys, time; seen = []; file = pathlib.Path(sys.argv[1]);"


LEAVE = f"{HEAD} signal.signal(signal.SIGUSR2, lambda *_: sys.exit(75));"


STAY = f"{HEAD} signal.signal(signal.SIGUSR2, lambda *_: seen.append(1));"


READY = "file.touch()\n"


WAIT = "time.sleep(60)"


def run(code: str, file: Path, grace: float = 30.0) -> int:
    return sweep_job.run_until_preempted([sys.executable, "-c", code, str(file)], os.environ, grace)


def send(number: int, file: Path) -> None:
    """Send this process a signal as soon as its child has touched the file; then remove it."""

    def wait() -> None:
        while not file.exists():
            time.sleep(0.01)
        os.kill(os.getpid(), number)
        file.unlink()

    threading.Thread(target=wait, daemon=True).start()


@pytest.fixture
def requeued() -> Iterator[list[int]]:
    """What stands for submitit's handler: it leaves the process, as submitit does."""
    numbers: list[int] = []

    def handler(number: int, frame: object) -> None:
        numbers.append(number)
        raise SystemExit(-1)

    before = signal.signal(PREEMPTION_SIGNAL, handler)
    yield numbers
    signal.signal(PREEMPTION_SIGNAL, before)


def test_a_process_without_a_signal_is_only_run(requeued: list[int], tmp_path: Path) -> None:
    assert run("raise SystemExit(3)", tmp_path / "ready") == 3
    assert not requeued


@pytest.mark.parametrize("code", [LEAVE, HEAD], ids=["it leaves", "it dies of it"])
def test_a_process_told_to_leave_is_queued_again(
    code: str, requeued: list[int], tmp_path: Path
) -> None:
    send(PREEMPTION_SIGNAL, tmp_path / "ready")
    with pytest.raises(SystemExit):
        run(code + READY + WAIT, tmp_path / "ready")
    assert requeued == [PREEMPTION_SIGNAL]


def test_a_process_that_stays_is_killed_and_queued_again(
    requeued: list[int], tmp_path: Path
) -> None:
    send(PREEMPTION_SIGNAL, tmp_path / "ready")
    began = time.monotonic()
    with pytest.raises(SystemExit):
        run(STAY + READY + "while True: time.sleep(60)", tmp_path / "ready", grace=0.5)
    assert requeued
    assert time.monotonic() - began < 30


def test_a_process_that_finishes_its_work_all_the_same_is_done(
    requeued: list[int], tmp_path: Path
) -> None:
    send(PREEMPTION_SIGNAL, tmp_path / "ready")
    assert run(STAY + READY + "while not seen: time.sleep(0.01)", tmp_path / "ready") == 0
    assert not requeued


def test_a_job_that_slurm_ends_has_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    before = signal.getsignal(signal.SIGTERM)
    send(signal.SIGTERM, tmp_path / "ready")
    ends = "while file.exists(): time.sleep(0.01)\nsys.exit(1)"
    with pytest.raises(SystemExit, match=str(PREEMPTED_EXIT_CODE)):
        run(HEAD + READY + ends, tmp_path / "ready", grace=0.5)
    signal.signal(signal.SIGTERM, before)


def test_slurm_gives_the_ranks_where_it_started_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_NTASKS", raising=False)
    assert isinstance(sweep_job.cluster_environment(), LightningEnvironment)
    monkeypatch.setenv("SLURM_NTASKS", "1")
    monkeypatch.setenv("SLURM_JOB_NAME", "deepsal")
    environment = sweep_job.cluster_environment()
    assert isinstance(environment, SLURMEnvironment)
    assert not environment.auto_requeue


@pytest.mark.parametrize("code", ["signal.signal(signal.SIGTERM, lambda *_: sys.exit(143));", ""])
def test_a_signal_to_the_sweep_ends_the_job_first(code: str, tmp_path: Path) -> None:
    before = signal.signal(signal.SIGHUP, process._leave)
    send(signal.SIGHUP, tmp_path / "ready")
    end = f"import os; file.with_name('pid').write_text(str(os.getpid())); {READY}"
    with pytest.raises(SystemExit, match=str(128 + signal.SIGHUP)):
        run(HEAD + code + end + WAIT, tmp_path / "ready")
    signal.signal(signal.SIGHUP, before)
    assert not heartbeat.process_start(int((tmp_path / "pid").read_text()))


def hydra_job(folder: Path, mode: str) -> SimpleNamespace:
    runtime = SimpleNamespace(output_dir=str(folder))
    return SimpleNamespace(runtime=runtime, mode=SimpleNamespace(name=mode))


def test_an_error_of_a_job_is_a_row_and_one_of_a_run_is_raised(tmp_path: Path) -> None:
    outcomes: list[JobOutcome] = []
    (tmp_path / "0-a").mkdir()
    with sweep_job.recorded_errors(outcomes, hydra_job(tmp_path / "0-a", "MULTIRUN")):
        raise ValueError("seed=x")
    assert (tmp_path / "0-a" / "status").read_text() == "failed: ValueError: seed=x\n"
    assert outcomes == [JobOutcome("0-a", "failed", reason="ValueError: seed=x")]
    with (
        pytest.raises(ValueError, match="seed=x"),
        sweep_job.recorded_errors(outcomes, hydra_job(tmp_path, "RUN")),
    ):
        raise ValueError("seed=x")


def test_a_signal_ends_the_sweep_and_its_job_is_interrupted(tmp_path: Path) -> None:
    run_folder.write_status(tmp_path, "running")
    outcomes: list[JobOutcome] = []
    with (
        pytest.raises(SystemExit, match="143"),
        sweep_job.recorded_errors(outcomes, hydra_job(tmp_path, "MULTIRUN")),
    ):
        raise SystemExit(143)
    assert [outcome.reason for outcome in outcomes] == ["interrupted"]
    assert (tmp_path / "status").read_text() == "interrupted\n"
