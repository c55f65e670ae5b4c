"""What a sweep knows of its jobs: which are done, which failed and why."""

import hashlib
import json
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

RANKS = (
    "LOCAL_RANK",
    "NODE_RANK",
    "GROUP_RANK",
    "RANK",
    "WORLD_SIZE",
    "LOCAL_WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "PL_GLOBAL_SEED",
    "PL_SEED_WORKERS",
)


class Job(NamedTuple):
    """How one job of a sweep ended: done, failed or skipped (done before)."""

    name: str
    how: str
    score: float | None = None
    reason: str = ""


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a fresh process: without what a training leaves behind.

    >>> environment({"HOME": "/root", "LOCAL_RANK": "0", "MASTER_PORT": "1"})
    {'HOME': '/root'}
    """
    return {name: value for name, value in variables.items() if name not in RANKS}


def finish(folder: Path, score: float | None) -> None:
    """Leave the marker `done` in a run folder: the score, and which configuration it is of."""
    partial = folder / ".done.partial"
    config = (folder / "config.yaml").read_text()
    partial.write_text(json.dumps({"config": _hash(config), "score": score}) + "\n")
    os.replace(partial, folder / "done")


def finished(folder: Path, config: str, name: str = "") -> Job | None:
    """Return the job of a folder if it is done with this very configuration, otherwise None."""
    try:
        marker = json.loads((folder / "done").read_text())
        valid = marker["config"] == _hash(config)
        return Job(name, "skipped", marker["score"], "done before") if valid else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def ended(folder: Path, config: str, code: int, name: str) -> Job:
    """Return how a process that worked in a folder ended.

    Args:
        folder: the run folder.
        config: its configuration, as text.
        code: the exit code; negative for a signal.
        name: of the job.
    """
    if code == 0 and (job := finished(folder, config, name)):
        return job._replace(how="done", reason="")
    if code < 0:
        return Job(name, "failed", reason=f"killed by {signal.Signals(-code).name}")
    status = folder / "status"
    said = status.read_text().strip() if status.is_file() else ""
    return Job(name, "failed", reason=said.removeprefix("failed: ") or f"exit code {code}")


def show(jobs: Sequence[Job], metric: str, console: Console | None = None) -> int:
    """Print a sweep's jobs at 80 columns, and return its exit code: 1 if one failed."""
    console = console or Console(width=80, highlight=False)
    counts = [f"{sum(j.how == how for j in jobs)} {how}" for how in ("done", "failed", "skipped")]
    table = Table(title=f"Sweep: {', '.join(counts)}", box=SIMPLE, title_justify="left")
    table.add_column("job", overflow="fold")
    table.add_column("")
    table.add_column(metric, justify="right")
    table.add_column("reason", overflow="fold")
    for job in jobs:
        score = "" if job.score is None else f"{job.score:.4f}"
        table.add_row(job.name, job.how, score, job.reason.replace("[", r"\["))
    console.print(table)
    return int(any(job.how == "failed" for job in jobs))


def _hash(config: str) -> str:
    return hashlib.sha256(config.encode()).hexdigest()
