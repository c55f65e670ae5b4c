"""A job inside submitit: its process is told to leave, and queued again, when the time is up."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from types import FrameType

from pytorch_lightning.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    SLURMEnvironment,
)

LEFT = 75
"""Exit code of a process that left because it was told to (EX_TEMPFAIL)."""
SIGNAL = signal.SIGUSR2


def cluster() -> ClusterEnvironment:
    """Return what tells Lightning its ranks: Slurm, which submitit requeues, or no cluster."""
    if SLURMEnvironment.detect():
        return SLURMEnvironment(auto_requeue=False)
    return LightningEnvironment()


def watched(command: Sequence[str], variables: Mapping[str, str], grace: float = 60.0) -> int:
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
    handler = signal.getsignal(SIGNAL)

    def tell(number: int, frame: FrameType | None) -> None:
        told.append(time.monotonic())
        process.send_signal(number)

    process = subprocess.Popen(command, env=variables)
    signal.signal(SIGNAL, tell)
    try:
        while process.poll() is None:
            time.sleep(0.2)
            if told and time.monotonic() > told[0] + grace:
                process.kill()
    except BaseException:
        process.kill()
        raise
    finally:
        signal.signal(SIGNAL, handler)
    if told and process.returncode and callable(handler):
        handler(SIGNAL, None)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # not the first rank, which requeues:
        time.sleep(grace)  # Slurm ends this one then
        sys.exit(LEFT)
    return process.returncode


def inside() -> bool:
    """Say whether this process is a job that submitit started."""
    return "SUBMITIT_EXECUTOR" in os.environ
