"""What a run folder says of its job: `config.yaml`, `status` and the marker `done`."""

import hashlib
import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from deepsal.runs.process import is_first_rank

TRAINING_OUTPUTS = ("fields", "figures", "checkpoints")
"""What a training leaves in its folder beside its tables."""


class JobOutcome(NamedTuple):
    """How one job of a sweep ended: done, failed or skipped (done before)."""

    name: str
    how: str
    score: float | None = None
    reason: str = ""


def refuse_used_folder(folder: Path, verbs: Sequence[str]) -> None:
    """Refuse to train where a training left something, which the new one would mix with.

    Raises:
        FileExistsError: it did; the message says how to go on.
    """
    there = [made for made in TRAINING_OUTPUTS if any(folder.glob(f"{made}/[!.]*"))]
    if "fit" in verbs and there:
        raise FileExistsError(
            f"{folder} holds a training ({', '.join(there)}); resume={folder} goes on with it; "
            "for a new one set another hydra.run.dir, or remove this folder"
        )


def remove_training_outputs(folder: Path) -> None:
    """Remove what a training left in its folder beside its tables."""
    for made in TRAINING_OUTPUTS:
        shutil.rmtree(folder / made, ignore_errors=True)


def mark_done(folder: Path, score: float | None) -> None:
    """Leave the marker `done` in a run folder: the score, and which configuration it is of."""
    config = (folder / "config.yaml").read_text()
    _replace_text(
        folder / "done", json.dumps({"config": _config_hash(config), "score": score}) + "\n"
    )


def outcome_if_done(folder: Path, config: str, name: str = "") -> JobOutcome | None:
    """Return the job of a folder if it is done with this very configuration, otherwise None."""
    try:
        marker = json.loads((folder / "done").read_text())
        valid = marker["config"] == _config_hash(config)
        return JobOutcome(name, "skipped", marker["score"], "done before") if valid else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def outcome_of_exit(folder: Path, config: str, code: int, name: str) -> JobOutcome:
    """Return how a process that worked in a folder ended; a killed one's `status` then says so.

    Args:
        folder: the run folder.
        config: its configuration, as text.
        code: the exit code; negative for a signal.
        name: of the job.
    """
    if code == 0 and (job := outcome_if_done(folder, config, name)):
        return job._replace(how="done", reason="")
    status = folder / "status"
    said = status.read_text().strip() if status.is_file() else ""
    if said in {"", "running"}:
        killed = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        said = f"failed: {killed}"
        write_status(folder, said)
    return JobOutcome(name, "failed", reason=said.removeprefix("failed: "))


def write_status(folder: Path, how: str) -> None:
    """Write how a run is or ended into `status`, on the first rank."""
    if is_first_rank() and folder.is_dir() and os.access(folder, os.W_OK):
        _replace_text(folder / "status", f"{how}\n")


def run_job(
    folder: Path,
    config: str,
    prepare: Callable[[], None],
    process: Callable[[], int],
    patience: float = 600.0,
) -> JobOutcome:
    """Do a job in its folder unless it is done there; an error is how it ended, not raised.

    Args:
        folder: the run folder; its name is the job's.
        config: the configuration, as text.
        prepare: makes the folder ready, on the first rank.
        process: does the work, and returns its exit code.
        patience: seconds that other ranks wait for the first one's `config.yaml`.
    """
    name, written = folder.name, folder / "config.yaml"
    if job := outcome_if_done(folder, config, name):
        return job
    if is_first_rank():
        if written.is_file() and written.read_text() != config:
            reason = "the folder holds another configuration; set another hydra.sweep.dir"
            return JobOutcome(name, "failed", reason=reason)
        try:
            prepare()
            _replace_text(written, config)
        except OSError as error:
            return JobOutcome(name, "failed", reason=f"{type(error).__name__}: {error}")
    end = time.monotonic() + patience
    while not (written.is_file() and written.read_text() == config):
        if time.monotonic() > end:
            return JobOutcome(name, "failed", reason=f"the first rank has not written {written}")
        time.sleep(0.5)
    return outcome_of_exit(folder, config, process(), name)


def _replace_text(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text)
    os.replace(partial, path)


def _config_hash(config: str) -> str:
    return hashlib.sha256(config.encode()).hexdigest()
