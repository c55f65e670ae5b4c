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

from deepsal.runs.process import first_rank

MADE = ("fields", "figures", "checkpoints")
"""What a training leaves in its folder beside its tables."""


class Job(NamedTuple):
    """How one job of a sweep ended: done, failed or skipped (done before)."""

    name: str
    how: str
    score: float | None = None
    reason: str = ""


def vacant(folder: Path, verbs: Sequence[str]) -> None:
    """Refuse to train where a training left something, which the new one would mix with.

    Raises:
        FileExistsError: it did; the message says how to go on.
    """
    there = [made for made in MADE if any(folder.glob(f"{made}/[!.]*"))]
    if "fit" in verbs and there:
        raise FileExistsError(
            f"{folder} holds a training ({', '.join(there)}); resume={folder} goes on with it; "
            "for a new one set another hydra.run.dir, or remove this folder"
        )


def clear(folder: Path) -> None:
    """Remove what a training left in its folder beside its tables."""
    for made in MADE:
        shutil.rmtree(folder / made, ignore_errors=True)


def finish(folder: Path, score: float | None) -> None:
    """Leave the marker `done` in a run folder: the score, and which configuration it is of."""
    config = (folder / "config.yaml").read_text()
    _replace(folder / "done", json.dumps({"config": _hash(config), "score": score}) + "\n")


def finished(folder: Path, config: str, name: str = "") -> Job | None:
    """Return the job of a folder if it is done with this very configuration, otherwise None."""
    try:
        marker = json.loads((folder / "done").read_text())
        valid = marker["config"] == _hash(config)
        return Job(name, "skipped", marker["score"], "done before") if valid else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def ended(folder: Path, config: str, code: int, name: str) -> Job:
    """Return how a process that worked in a folder ended; a killed one's `status` then says so.

    Args:
        folder: the run folder.
        config: its configuration, as text.
        code: the exit code; negative for a signal.
        name: of the job.
    """
    if code == 0 and (job := finished(folder, config, name)):
        return job._replace(how="done", reason="")
    status = folder / "status"
    said = status.read_text().strip() if status.is_file() else ""
    if said in {"", "running"}:
        killed = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        said = f"failed: {killed}"
        tell(folder, said)
    return Job(name, "failed", reason=said.removeprefix("failed: "))


def tell(folder: Path, how: str) -> None:
    """Write how a run is or ended into `status`, on the first rank."""
    if first_rank() and folder.is_dir() and os.access(folder, os.W_OK):
        _replace(folder / "status", f"{how}\n")


def work(
    folder: Path,
    config: str,
    prepare: Callable[[], None],
    process: Callable[[], int],
    patience: float = 600.0,
) -> Job:
    """Do a job in its folder unless it is done there; an error is how it ended, not raised.

    Args:
        folder: the run folder; its name is the job's.
        config: the configuration, as text.
        prepare: makes the folder ready, on the first rank.
        process: does the work, and returns its exit code.
        patience: seconds that other ranks wait for the first one's `config.yaml`.
    """
    name, written = folder.name, folder / "config.yaml"
    if job := finished(folder, config, name):
        return job
    if first_rank():
        if written.is_file() and written.read_text() != config:
            reason = "the folder holds another configuration; set another hydra.sweep.dir"
            return Job(name, "failed", reason=reason)
        try:
            prepare()
            _replace(written, config)
        except OSError as error:
            return Job(name, "failed", reason=f"{type(error).__name__}: {error}")
    end = time.monotonic() + patience
    while not (written.is_file() and written.read_text() == config):
        if time.monotonic() > end:
            return Job(name, "failed", reason=f"the first rank has not written {written}")
        time.sleep(0.5)
    return ended(folder, config, process(), name)


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text)
    os.replace(partial, path)


def _hash(config: str) -> str:
    return hashlib.sha256(config.encode()).hexdigest()
