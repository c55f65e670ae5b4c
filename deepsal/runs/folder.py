"""Run folder: `config.yaml`, `status` and the marker `done`, and the outcome they state."""

import hashlib
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from deepsal.atomic import write_text
from deepsal.runs.heartbeat import hold_folder, is_alive
from deepsal.runs.paths import as_text, differing_keys, parse_yaml
from deepsal.runs.process import forget_stale_ranks, is_first_rank

TRAINING_OUTPUTS = ("fields", "figures", "checkpoints")
"""Subfolders that a training writes."""
MIN_FREE_BYTES = 1 << 30
PREEMPTED_EXIT_CODE = 75
"""Exit code of a process that was asked to leave before its end (EX_TEMPFAIL of sysexits.h)."""


class JobOutcome(NamedTuple):
    """Outcome of one job of a sweep.

    name: of the run folder · status: done, failed or skipped (it was done before) · score: None if
    it failed · reason: of a failure or skip · metric: name of the score, such as `val/nss`.
    """

    name: str
    status: str
    score: float | None = None
    reason: str = ""
    metric: str = ""


def check_folder_writable(folder: Path) -> None:
    """Check, before any work, that a run folder can take a run's files.

    Raises:
        PermissionError: the folder cannot be written to.
        OSError: less than 1 GiB is free.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".writable").touch()
        (folder / ".writable").unlink()
    except OSError as error:
        raise PermissionError(
            f"the run folder {folder} cannot be written to ({error.strerror}); "
            "set hydra.run.dir=FOLDER"
        ) from error
    free = shutil.disk_usage(folder).free
    if free < MIN_FREE_BYTES:
        raise OSError(
            f"only {free / 2**20:.0f} MiB are free at {folder}, a run needs 1 GiB; "
            "free some space or set hydra.run.dir=FOLDER"
        )


def refuse_used_folder(folder: Path, steps: Sequence[str]) -> None:
    """Refuse a folder that holds a training, whose files or record a new run would replace.

    Args:
        folder: the run folder.
        steps: of the run; without `fit`, a folder with fields or figures alone is not refused.

    Raises:
        FileExistsError: the folder holds outputs of a training.
    """
    if "fit" not in steps and holds_checkpoints(folder):
        raise FileExistsError(
            f"{folder} holds a training, whose record would be replaced; "
            "set hydra.run.dir to another folder"
        )
    outputs = [name for name in TRAINING_OUTPUTS if any(folder.glob(f"{name}/[!.]*"))]
    if "fit" in steps and outputs:
        raise FileExistsError(
            f"{folder} holds a training ({', '.join(outputs)}); resume={folder} resumes it; "
            "for a new one set another hydra.run.dir, or remove this folder"
        )


def holds_checkpoints(folder: Path) -> bool:
    """Return whether a folder holds checkpoints of a training."""
    return any(folder.glob("checkpoints/[!.]*"))


@contextmanager
def begun_run(
    folder: Path, config: Mapping[str, Any], prepare: Callable[[], None]
) -> Iterator[None]:
    """Hold a run folder while the block runs; before it, write `config.yaml` on the first rank.

    Args:
        folder: the run folder.
        config: plain values.
        prepare: makes the folder ready.

    Raises:
        OSError: a process works in the folder, it holds a training, or it cannot be written to.
    """
    forget_stale_ranks(config["trainer"])
    with hold_folder(folder):
        if is_first_rank():
            refuse_used_folder(folder, config["do"])
            prepare()
            write_config(folder, as_text(config))
        yield


def write_config(folder: Path, config: str) -> None:
    """Write `config.yaml` of a run that begins, and remove the marker of an earlier one."""
    (folder / "done").unlink(missing_ok=True)
    write_text(folder / "config.yaml", config)


def remove_training_outputs(folder: Path) -> None:
    """Remove what a training wrote, except its tables."""
    for name in TRAINING_OUTPUTS:
        shutil.rmtree(folder / name, ignore_errors=True)


def mark_done(folder: Path, score: float | None) -> None:
    """Write the marker `done`: the score and the hash of the configuration it belongs to."""
    config = (folder / "config.yaml").read_text(encoding="utf-8")
    marker = {"config": _config_hash(config), "score": score}
    write_text(folder / "done", json.dumps(marker) + "\n")


def outcome_if_done(folder: Path, config: str, name: str = "") -> JobOutcome | None:
    """Return the outcome of a folder that is done with this configuration, otherwise None.

    The folder may have been moved; see `paths.differing_keys`.
    """
    try:
        marker = json.loads((folder / "done").read_text(encoding="utf-8"))
        written = (folder / "config.yaml").read_text(encoding="utf-8")
        valid = marker["config"] == _config_hash(written) and not differing_keys(written, config)
        if not valid:
            return None
        return JobOutcome(name, "skipped", marker["score"], "done before", score_name(config))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def score_name(config: str) -> str:
    """Return the name of a run's score: the metric of its training, or that of a test alone.

    >>> score_name("{do: [fit, test], metric: val/cc}"), score_name("{do: [test], metric: val/cc}")
    ('val/cc', 'test/nss')
    """
    options = parse_yaml(config)
    return str(options.get("metric", "")) if "fit" in options.get("do", ()) else "test/nss"


def outcome_of_exit(folder: Path, config: str, code: int, name: str) -> JobOutcome:
    """Return the outcome of a process that worked in a folder.

    A process that was killed could not write its `status`; this function writes it.

    Args:
        folder: the run folder.
        config: its configuration, as text.
        code: the exit code; negative for a signal.
        name: of the job.
    """
    if code == 0 and (outcome := outcome_if_done(folder, config, name)):
        return outcome._replace(status="done", reason="")
    if is_alive(folder):
        return JobOutcome(name, "failed", reason="another process works in the folder")
    cause = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    end_status(folder, f"failed: {cause}")
    return JobOutcome(name, "failed", reason=read_status(folder).removeprefix("failed: "))


def read_status(folder: Path) -> str:
    """Return the status of a run: the text of `status`, "" without one.

    A run whose process was killed left `running` there: without a process that works in the folder,
    it is `done` if it has its marker, and otherwise `interrupted`.
    """
    status = _written_status(folder)
    if status == "running" and not is_alive(folder):
        config = folder / "config.yaml"
        written = config.read_text(encoding="utf-8") if config.is_file() else ""
        return "done" if outcome_if_done(folder, written) else "interrupted"
    return status


def end_status(folder: Path, status: str) -> None:
    """Write the status of a run whose process has ended, if that did not write it."""
    if _written_status(folder) in {"", "running"} and not is_alive(folder):
        write_status(folder, status)


def write_status(folder: Path, status: str) -> None:
    """Write `status`: running, done, interrupted, preempted or `failed: REASON`.

    Only the first rank writes, and only into a folder that exists and is writable.
    """
    if is_first_rank() and folder.is_dir() and os.access(folder, os.W_OK):
        write_text(folder / "status", f"{status}\n")


@contextmanager
def recorded_status(folder: Path) -> Iterator[None]:
    """Write into `status` that the work inside is running, and then how it ended.

    Raises:
        SystemExit: the run was preempted; the exit code is `PREEMPTED_EXIT_CODE`.
        Exception: any other error of the work, unchanged.
    """
    from deepsal.training.preemption import RunPreempted  # imports torch

    write_status(folder, "running")
    try:
        yield
    except RunPreempted as preempted:
        write_status(folder, "preempted")
        print(f"{preempted}; {_resume_advice(folder)}")  # noqa: T201
        raise SystemExit(PREEMPTED_EXIT_CODE) from preempted
    except BaseException as error:
        leaving = _leaving_error(error)
        if leaving is None:
            write_status(folder, f"failed: {type(error).__name__}: {error}")
            raise
        write_status(folder, "interrupted")
        print(f"interrupted; {_resume_advice(folder)}")  # noqa: T201
        raise leaving from None
    write_status(folder, "done")


def _resume_advice(folder: Path) -> str:
    checkpoint = holds_checkpoints(folder)
    action = "resume from the last checkpoint" if checkpoint else "start the run again"
    return f"to {action}: resume={folder}"


def _leaving_error(error: BaseException | None) -> BaseException | None:
    """Return the interruption that ended the work, or that an error of cleaning up followed."""
    while error and not isinstance(error, KeyboardInterrupt | SystemExit):
        error = error.__context__
    return error


def _written_status(folder: Path) -> str:
    file = folder / "status"
    return file.read_text(encoding="utf-8").strip() if file.is_file() else ""


def _config_hash(config: str) -> str:
    return hashlib.sha256(config.encode()).hexdigest()
