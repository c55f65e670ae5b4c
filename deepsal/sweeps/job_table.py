"""A sweep's jobs as one table."""

from collections.abc import Sequence

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from deepsal.runs.folder import JobOutcome


def print_job_table(jobs: Sequence[JobOutcome], metric: str, console: Console | None = None) -> int:
    """Print a sweep's jobs at 80 columns, and return its exit code: 1 if one failed."""
    console = console or Console(width=80, highlight=False)
    counts = [f"{sum(j.how == how for j in jobs)} {how}" for how in ("done", "failed", "skipped")]
    table = Table(title=f"Sweep: {', '.join(counts)}", box=SIMPLE, title_justify="left")
    longest = max((len(job.name) for job in jobs), default=0)
    table.add_column("job", overflow="fold", min_width=min(longest, 30))
    table.add_column("")
    table.add_column(metric, justify="right")
    table.add_column("reason", overflow="fold")
    for job in jobs:
        score = "" if job.score is None else f"{job.score:.4f}"
        table.add_row(job.name, job.how, score, job.reason.replace("[", r"\["))
    console.print(table)
    return int(any(job.how == "failed" for job in jobs))
