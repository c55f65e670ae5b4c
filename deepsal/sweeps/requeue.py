"""A job inside submitit: its process is told to leave, and queued again, when the time is up."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Any

from deepsal.vocabulary import PREEMPTION_SIGNAL

PREEMPTED_EXIT_CODE = 75
"""Exit code of a process that left because it was told to (EX_TEMPFAIL)."""


def cluster_environment() -> Any:
    """Return Lightning's `ClusterEnvironment`: Slurm, which submitit requeues, or no cluster."""
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment
    from lightning_fabric.plugins.environments.slurm import SLURMEnvironment

    if SLURMEnvironment.detect():
        return SLURMEnvironment(auto_requeue=False)
    return LightningEnvironment()


def run_until_preempted(
    command: Sequence[str], variables: Mapping[str, str], grace: float = 60.0
) -> int:
    """Run a process to its end; return its exit code, or leave to be queued again.

    submitit's signal is handed on to the process. If it then ends before its work is done,
    submitit's own handler queues the job again and leaves this process (`SystemExit`).

    Args:
        command: the process.
        variables: its environment.
        grace: seconds from the signal to the end of a process that does not leave by itself.

    Raises:
        UncompletedJobError: the job ran out of time too often.
    """
    told: list[float] = []
    ending: list[int] = []
    handler = signal.getsignal(PREEMPTION_SIGNAL)

    def tell(number: int, frame: FrameType | None) -> None:
        told.append(time.monotonic())
        process.send_signal(number)

    process = subprocess.Popen(command, env=variables)
    signal.signal(PREEMPTION_SIGNAL, tell)
    if is_submitit_job("slurm"):
        signal.signal(signal.SIGTERM, lambda number, frame: ending.append(number))
    try:
        while process.poll() is None:
            time.sleep(0.2)
            if told and time.monotonic() > told[0] + grace:
                process.kill()
    except BaseException:
        process.kill()
        raise
    finally:
        signal.signal(PREEMPTION_SIGNAL, handler)
    if process.returncode == 0 or not (ending or (told and callable(handler))):
        return process.returncode
    if not ending and callable(handler):
        handler(PREEMPTION_SIGNAL, None)  # leaves, on the first rank
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    time.sleep(grace)  # Slurm is ending the job, or queuing it again: this is no result
    sys.exit(PREEMPTED_EXIT_CODE)


def is_submitit_job(*executors: str) -> bool:
    """Say whether this process is a job that submitit started (with one of these executors)."""
    return os.environ.get("SUBMITIT_EXECUTOR") in (executors or {"local", "slurm"})
