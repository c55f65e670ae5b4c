"""What a sweep hears of its jobs in a queue, also of those that never came back."""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from submitit.core import core
from submitit.core.utils import FailedJobError, UncompletedJobError
from submitit.local import local
from submitit.slurm import slurm
from typing_extensions import override

from deepsal.runs import folder as state
from deepsal.runs.folder import JobOutcome
from deepsal.sweeps import optuna_search

ENDED_STATES = {
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE"),
    *("FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "TIMEOUT"),
}


MAX_NAME_LENGTH = 80


class MissingResult(NamedTuple):
    """What stands for the result of a job that has none."""

    reason: str
    return_value: None = None


class SqueueWatcher(slurm.SlurmInfoWatcher):
    """Asks `squeue` for states: unlike `sacct` it works without Slurm's accounting."""

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
        seen = {number.removesuffix("_N/A"): said for number, said in pairs}
        return {
            number: {"JobID": number, "State": said if said in ENDED_STATES else "RUNNING"}
            for number in self._registered
            for said in [seen.get(number, "COMPLETED")]
        }


def patch_submitit(heard: Callable[[JobOutcome, Path], None]) -> None:
    """From now on, hear of each job of a submitit sweep; a failed one is a result like others.

    Args:
        heard: is called with each job that ended, and the folder of its sweep.
    """
    began = time.time()

    def results(job: core.Job[Any]) -> list[Any]:
        found = [_task_result(task) for task in job._sub_jobs or [job]]
        lost = next((result for result in found if isinstance(result, MissingResult)), None)
        sweep = job.paths.folder.parents[1]
        heard(_job_outcome(_run_folder(sweep, job), lost, began), sweep)
        return [lost] if lost else found

    class Slurm(slurm.SlurmJob[Any]):
        watcher = SqueueWatcher(delay_s=30)

        @override
        def results(self) -> list[Any]:
            return results(self)

    class Local(local.LocalJob[Any]):
        @override
        def results(self) -> list[Any]:
            return results(self)

    slurm.SlurmJob = slurm.SlurmExecutor.job_class = Slurm  # type: ignore[misc]
    local.LocalJob = local.LocalExecutor.job_class = Local  # type: ignore[misc]


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
    """Return the run folder of a job; one that never ran has none, but a name."""
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


def _job_outcome(folder: Path, lost: MissingResult | None, began: float) -> JobOutcome:
    config = folder / "config.yaml"
    if config.is_file() and (job := state.outcome_if_done(folder, config.read_text(), folder.name)):
        before = (folder / "done").stat().st_mtime < began
        return job if before else job._replace(how="done", reason="")
    status = folder / "status"
    said = status.read_text().strip() if status.is_file() else ""
    reasons = [said.removeprefix("failed: ")] if said.startswith("failed: ") else []
    reason = "; ".join([*reasons, *([lost.reason] if lost else [])]) or said
    state.write_status(folder, f"failed: {reason}")
    return JobOutcome(folder.name, "failed", reason=reason)
