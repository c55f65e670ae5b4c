"""Job of a sweep: one run in a process of its own, with devices of its own."""

import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

from deepsal.runs import folder as run_folder
from deepsal.runs.folder import JobOutcome
from deepsal.runs.process import is_first_rank, job_environment
from deepsal.sweeps import gpu_locks, optuna_search, requeue

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
    os.environ[optuna_search.TRIAL_PREFIX_VARIABLE] = optuna_search.trial_folder_prefix(arguments)
    if find_spec("submitit"):
        from deepsal.sweeps.submitit_jobs import patch_submitit

        patch_submitit(outcomes, write_report)
        gpu_locks.save_visible_devices()


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
        locked: dict[str, str] = {}
        if requeue.is_submitit_job("local"):
            locked = stack.enter_context(gpu_locks.lock_devices(*devices))
        variables = stack.enter_context(job_environment(locked))
        return run_if_not_done(
            folder, config, prepare, lambda: requeue.run_until_preempted(command, variables, grace)
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
        if file.is_file() and file.read_text() != config:
            reason = "the folder holds another configuration; set another hydra.sweep.dir"
            return JobOutcome(name, "failed", reason=reason)
        try:
            prepare()
            run_folder.write_config(folder, config)
        except OSError as error:
            return JobOutcome(name, "failed", reason=f"{type(error).__name__}: {error}")
    end = time.monotonic() + patience
    while not (file.is_file() and file.read_text() == config):
        if time.monotonic() > end:
            return JobOutcome(name, "failed", reason=f"the first rank has not written {file}")
        time.sleep(0.5)
    return run_folder.outcome_of_exit(folder, config, run(), name)
