"""Requeueing of a submitit job whose time is up."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Any

from deepsal.runs.folder import PREEMPTED_EXIT_CODE
from deepsal.vocabulary import PREEMPTION_SIGNAL


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
    """Run a process to its end and return its exit code, or leave so that the job is requeued.

    The signal that submitit gets is passed to the process. If the process then ends before its
    work is done, submitit's own handler requeues the job and this process leaves.

    Args:
        command: of the process.
        variables: its environment.
        grace: seconds from the signal until the process is killed.

    Raises:
        SystemExit: this process leaves; the job is requeued or Slurm ends it.
        UncompletedJobError: the job ran out of time too often.
    """
    signalled: list[float] = []
    terminated: list[int] = []
    submitit_handler = signal.getsignal(PREEMPTION_SIGNAL)

    def pass_on(number: int, frame: FrameType | None) -> None:
        signalled.append(time.monotonic())
        process.send_signal(number)

    process = subprocess.Popen(command, env=variables)
    signal.signal(PREEMPTION_SIGNAL, pass_on)
    if is_submitit_job("slurm"):
        signal.signal(signal.SIGTERM, lambda number, frame: terminated.append(number))
    try:
        while process.poll() is None:
            time.sleep(0.2)
            if signalled and time.monotonic() > signalled[0] + grace:
                process.kill()
    except BaseException:
        process.kill()
        raise
    finally:
        signal.signal(PREEMPTION_SIGNAL, submitit_handler)
    preempted = terminated or (signalled and callable(submitit_handler))
    if process.returncode == 0 or not preempted:
        return process.returncode
    if not terminated and callable(submitit_handler):
        submitit_handler(PREEMPTION_SIGNAL, None)  # leaves, on the first rank
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    time.sleep(grace)  # Slurm ends or requeues the job meanwhile: this is no result
    sys.exit(PREEMPTED_EXIT_CODE)


def is_submitit_job(*executors: str) -> bool:
    """Return whether submitit started this process (with one of these executors)."""
    return os.environ.get("SUBMITIT_EXECUTOR") in (executors or {"local", "slurm"})
