"""Outcomes of submitit jobs, also of jobs that never returned a result."""

import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from submitit.core import core
from submitit.core.utils import FailedJobError, UncompletedJobError
from submitit.local import local
from submitit.slurm import slurm
from typing_extensions import override

from deepsal.runs import folder as run_folder
from deepsal.runs.folder import JobOutcome
from deepsal.sweeps import optuna_search

ENDED_STATES = {
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE"),
    *("FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "TIMEOUT"),
}
"""States in which Slurm does not run a job any more."""
MAX_NAME_LENGTH = 80


class MissingResult(NamedTuple):
    """Stand-in for the result of a job that has none."""

    reason: str
    return_value: None = None


class SqueueWatcher(slurm.SlurmInfoWatcher):
    """Reads job states from `squeue`, which works without Slurm's accounting, unlike `sacct`."""

    @override
    def _make_command(self) -> list[str] | None:
        if not self._registered - self._finished:
            return None
        return ["squeue", "--me", "--noheader", "--array", "--states=all", "--format=%F_%K|%T"]

    @override
    def read_info(self, string: bytes | str) -> dict[str, dict[str, str]]:
        """Return the state of each job; one that Slurm has forgotten has ended."""
        text = string if isinstance(string, str) else string.decode()
        pairs = (line.strip().split("|") for line in text.splitlines())
        states = {number.removesuffix("_N/A"): state for number, state in pairs}
        return {
            number: {"JobID": number, "State": state if state in ENDED_STATES else "RUNNING"}
            for number in self._registered
            for state in [states.get(number, "COMPLETED")]
        }


def patch_submitit(outcomes: list[JobOutcome], write_report: Callable[[Path], None]) -> None:
    """Replace submitit's job classes in this process by classes that record each job's outcome.

    submitit raises the error of a failed job, which would end a sweep. The replacements return a
    `MissingResult` for it instead. Slurm's states come from `squeue`. The classes were checked
    with submitit 1.5.4.

    Args:
        outcomes: the list to which each outcome is appended.
        write_report: called with the sweep's folder after each job.
    """
    began = time.time()

    def results(job: core.Job[Any]) -> list[Any]:
        results = [_task_result(task) for task in job._sub_jobs or [job]]
        missing = next((result for result in results if isinstance(result, MissingResult)), None)
        sweep = job.paths.folder.parents[1]
        outcomes.append(_job_outcome(_run_folder(sweep, job), missing, began))
        write_report(sweep)
        return [missing] if missing else results

    class RecordedSlurmJob(slurm.SlurmJob[Any]):
        watcher = SqueueWatcher(delay_s=30)

        @override
        def results(self) -> list[Any]:
            return results(self)

    class RecordedLocalJob(local.LocalJob[Any]):
        @override
        def results(self) -> list[Any]:
            return results(self)

    slurm.SlurmJob = slurm.SlurmExecutor.job_class = RecordedSlurmJob  # type: ignore[misc]
    local.LocalJob = local.LocalExecutor.job_class = RecordedLocalJob  # type: ignore[misc]
    slurm.SlurmExecutor.affinity = classmethod(_slurm_affinity)  # type: ignore[assignment]


def _slurm_affinity(_executor: type) -> int:
    """Return a positive number, which submitit reads as that Slurm is here.

    Raises:
        SystemExit: it is not; the exit code's text is printed.
    """
    if shutil.which("srun") is None:
        raise SystemExit(
            "hydra/launcher=slurm: there is no Slurm here (no srun); start the sweep on a login "
            "node, or set hydra/launcher=local"
        )
    return 2


def _task_result(task: core.Job[Any]) -> Any:
    try:
        result = core.Job.results(task)[0]
    except FailedJobError as error:
        return MissingResult(str(error).strip().splitlines()[-1])
    except UncompletedJobError:
        return MissingResult(f"no result; its state is {task.state}, its log {task.paths.stderr}")
    failed = result.status.name == "FAILED"
    return MissingResult(str(result._return_value)) if failed else result


def _run_folder(sweep: Path, job: core.Job[Any]) -> Path:
    """Return the run folder of a job; the path for one that never ran does not exist."""
    overrides, _, number, *_ = job.submission().args
    number = f"{os.environ.get(optuna_search.TRIAL_PREFIX_VARIABLE, '')}{number}"
    return next(sweep.glob(f"{number}-*"), sweep / job_name(number, overrides))


def job_name(number: str, overrides: Sequence[str]) -> str:
    """Return a name for a job without a folder, short enough for a file and a table.

    >>> job_name("0", ["data_dir=/data", "seed=1"])
    '0 data_dir=_data seed=1'
    """
    name = f"{number} {' '.join(overrides)}".replace("/", "_")
    return name if len(name) <= MAX_NAME_LENGTH else f"{name[: MAX_NAME_LENGTH - 1]}…"


def _job_outcome(folder: Path, missing: MissingResult | None, began: float) -> JobOutcome:
    config = folder / "config.yaml"
    if config.is_file() and (
        outcome := run_folder.outcome_if_done(
            folder, config.read_text(encoding="utf-8"), folder.name
        )
    ):
        done_before = (folder / "done").stat().st_mtime < began
        return outcome if done_before else outcome._replace(status="done", reason="")
    status = run_folder.read_status(folder)
    reasons = [status.removeprefix("failed: ")] if status.startswith("failed: ") else []
    reason = "; ".join([*reasons, *([missing.reason] if missing else [])]) or status
    run_folder.write_status(folder, f"failed: {reason}")
    return JobOutcome(folder.name, "failed", reason=reason)
