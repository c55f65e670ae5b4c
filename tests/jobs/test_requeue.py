import os
import signal
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment

from deepsal.jobs import requeue

LEAVE = "import signal, sys; signal.signal(signal.SIGUSR2, lambda *_: sys.exit(75));"
STAY = "import signal, time; signal.signal(signal.SIGUSR2, lambda *_: 0);"
WAIT = "import time; time.sleep(60)"


def run(code: str, grace: float = 30.0) -> int:
    return requeue.watched([sys.executable, "-c", code], os.environ, grace)


def later(seconds: float) -> None:
    threading.Timer(seconds, os.kill, (os.getpid(), requeue.SIGNAL)).start()


@pytest.fixture
def requeued() -> Iterator[list[int]]:
    """What stands for submitit's handler: it leaves the process, as submitit does."""
    numbers: list[int] = []

    def handler(number: int, frame: object) -> None:
        numbers.append(number)
        raise SystemExit(-1)

    before = signal.signal(requeue.SIGNAL, handler)
    yield numbers
    signal.signal(requeue.SIGNAL, before)


def test_a_process_without_a_signal_is_only_run(requeued: list[int]) -> None:
    assert run("raise SystemExit(3)") == 3
    assert not requeued


@pytest.mark.parametrize("code", [f"{LEAVE} {WAIT}", WAIT], ids=["it leaves", "it dies of it"])
def test_a_process_told_to_leave_is_queued_again(code: str, requeued: list[int]) -> None:
    later(2.0)
    with pytest.raises(SystemExit):
        run(code)
    assert requeued == [requeue.SIGNAL]


def test_a_process_that_stays_is_killed_and_queued_again(requeued: list[int]) -> None:
    later(2.0)
    began = time.monotonic()
    with pytest.raises(SystemExit):
        run(f"{STAY} {WAIT}", grace=1.0)
    assert requeued
    assert time.monotonic() - began < 30


def test_a_process_that_finishes_its_work_all_the_same_is_done(requeued: list[int]) -> None:
    later(1.0)
    assert run(f"{STAY} time.sleep(3)") == 0
    assert not requeued


def test_a_job_that_slurm_ends_has_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    before = signal.getsignal(signal.SIGTERM)
    threading.Timer(1.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
    with pytest.raises(SystemExit, match=str(requeue.LEFT)):
        run("import time; time.sleep(3); raise SystemExit(1)", grace=4.0)
    signal.signal(signal.SIGTERM, before)


def test_slurm_gives_the_ranks_where_it_started_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_NTASKS", raising=False)
    assert isinstance(requeue.cluster(), LightningEnvironment)
    monkeypatch.setenv("SLURM_NTASKS", "1")
    monkeypatch.setenv("SLURM_JOB_NAME", "deepsal")
    environment = requeue.cluster()
    assert isinstance(environment, SLURMEnvironment)
    assert not environment.auto_requeue
