"""Job of a sweep: one run in a process of its own, with devices of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any

from deepsal.runs import folder as run_folder
from deepsal.runs.folder import PREEMPTED_EXIT_CODE, JobOutcome
from deepsal.runs.heartbeat import SWEEP_VARIABLE, FolderInUseError, hold_folder, sweep_identity
from deepsal.runs.paths import differing_keys
from deepsal.runs.process import is_first_rank, job_environment, one_line
from deepsal.sweeps import gpu_locks, optuna_search
from deepsal.vocabulary import PREEMPTION_SIGNAL

FIRST_RANK_PATIENCE = 600.0
"""Seconds that other ranks wait for the configuration, which the first rank writes."""


def prepare_sweep(
    arguments: Sequence[str], outcomes: list[JobOutcome], write_report: Callable[[Path], None]
) -> None:
    """Prepare this process for the jobs of a sweep, before Hydra starts them.

    Args:
        arguments: of the command line.
        outcomes: the list to which the outcomes of submitit's jobs are appended.
        write_report: called with the sweep's folder after each of them.
    """
    os.environ[SWEEP_VARIABLE] = sweep_identity()
    os.environ[optuna_search.TRIAL_PREFIX_VARIABLE] = optuna_search.trial_folder_prefix(arguments)
    if find_spec("submitit"):
        from deepsal.sweeps.submitit_jobs import patch_submitit

        patch_submitit(outcomes, write_report)
        gpu_locks.save_visible_devices()


@contextmanager
def recorded_errors(outcomes: list[JobOutcome], job: Any) -> Iterator[None]:
    """Append the outcome of a sweep's job that an error or a signal ends inside the block.

    After an error the sweep continues; a signal ends it. Errors of a single run, and of submitit's
    jobs, whose parent process reads them, are raised.

    Args:
        outcomes: of the sweep's jobs.
        job: Hydra's configuration of the job.
    """
    folder = Path(job.runtime.output_dir)
    try:
        yield
    except (Exception, SystemExit) as error:
        if job.mode.name != "MULTIRUN" or is_submitit_job():
            raise
        signalled = isinstance(error, SystemExit)
        reason = "interrupted" if signalled else one_line(error)
        run_folder.end_status(folder, reason if signalled else f"failed: {reason}")
        outcomes.append(JobOutcome(folder.name, "failed", reason=reason))
        if signalled:
            raise


def run_sweep_job(
    folder: Path,
    config: str,
    script: Path,
    prepare: Callable[[], None],
    devices: tuple[str, int | str | Sequence[int]],
    grace: float,
) -> JobOutcome:
    """Run a job in its folder by `python SCRIPT resume=FOLDER`, unless it is done.

    On a machine without a queue (submitit's local executor) the job first waits for free devices.

    Args:
        folder: the run folder; its name is the job's.
        config: the configuration, as text.
        script: `run.py`.
        prepare: makes the folder ready; called on the first rank.
        devices: accelerator and devices of the trainer.
        grace: seconds that the process gets to leave after a signal.

    Returns:
        The outcome; an error of the job is its reason, and is not raised.
    """
    command = [sys.executable, str(script), f"resume={folder.absolute()}"]
    with ExitStack() as stack:
        changes = {SWEEP_VARIABLE: ""} if is_submitit_job("slurm") else {}
        if is_submitit_job("local"):
            changes |= stack.enter_context(gpu_locks.lock_devices(*devices))
        variables = stack.enter_context(job_environment(changes))
        return run_if_not_done(
            folder, config, prepare, lambda: run_until_preempted(command, variables, grace)
        )


def run_if_not_done(
    folder: Path,
    config: str,
    prepare: Callable[[], None],
    run: Callable[[], int],
    patience: float = FIRST_RANK_PATIENCE,
) -> JobOutcome:
    """Prepare a run folder and run its job, unless it is done with this configuration.

    Args:
        folder: the run folder; its name is the job's.
        config: the configuration, as text.
        prepare: makes the folder ready; called on the first rank.
        run: does the work and returns its exit code.
        patience: see `FIRST_RANK_PATIENCE`.
    """
    name, file = folder.name, folder / "config.yaml"
    if outcome := run_folder.outcome_if_done(folder, config, name):
        return outcome
    if is_first_rank():
        try:
            with hold_folder(folder):
                if differing := file.is_file() and differing_keys(file.read_text("utf-8"), config):
                    options = ", ".join(differing[:3])
                    reason = f"the folder holds another configuration ({options})"
                    return JobOutcome(name, "failed", reason=f"{reason}; set hydra.sweep.dir")
                prepare()
                run_folder.write_config(folder, config)
        except FolderInUseError as error:
            return JobOutcome(name, "failed", reason=str(error))
        except OSError as error:
            return JobOutcome(name, "failed", reason=f"{type(error).__name__}: {error}")
    end = time.monotonic() + patience
    while not (file.is_file() and file.read_text("utf-8") == config):
        if time.monotonic() > end:
            return JobOutcome(name, "failed", reason=f"the first rank has not written {file}")
        time.sleep(0.5)
    return run_folder.outcome_of_exit(folder, config, run(), name)


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

    # not in the terminal's group: this process alone gets Ctrl-C, and passes it on once
    process = subprocess.Popen(command, env=variables, process_group=0)
    signal.signal(PREEMPTION_SIGNAL, pass_on)
    if is_submitit_job("slurm"):
        signal.signal(signal.SIGTERM, lambda number, frame: terminated.append(number))
    try:
        while process.poll() is None:
            time.sleep(0.2)
            if signalled and time.monotonic() > signalled[0] + grace:
                process.kill()
    except BaseException:
        end_process(process, grace)
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


def end_process(process: subprocess.Popen[bytes], grace: float) -> None:
    """Send SIGTERM to a process and wait for its end; kill it after `grace` seconds."""
    process.terminate()
    try:
        process.wait(grace)
    except BaseException as error:  # a second signal does not wait
        process.kill()
        if not isinstance(error, subprocess.TimeoutExpired):
            raise


def is_submitit_job(*executors: str) -> bool:
    """Return whether submitit started this process (with one of these executors)."""
    return os.environ.get("SUBMITIT_EXECUTOR") in (executors or {"local", "slurm"})
