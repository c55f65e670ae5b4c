"""Table of a sweep's jobs for the terminal."""

from collections.abc import Callable, Sequence

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from deepsal.runs.folder import JobOutcome


def run_with_table(run: Callable[[], object], jobs: Sequence[JobOutcome], metric: str) -> int:
    """Run a sweep, and print the table of its jobs also if an error or a signal ends it.

    Args:
        run: starts the jobs.
        jobs: their outcomes, which grow meanwhile; none for a single run.
        metric: see `print_job_table`.

    Returns:
        The exit code.
    """
    code = 0
    try:
        run()
    finally:
        if jobs:
            code = print_job_table(jobs, metric)
    return code


def print_job_table(jobs: Sequence[JobOutcome], metric: str, console: Console | None = None) -> int:
    """Print the jobs of a sweep at 80 columns.

    Args:
        jobs: their outcomes.
        metric: name of the score, as a column title.
        console: to print to.

    Returns:
        The exit code of the sweep: 1 if a job failed, otherwise 0.
    """
    console = console or Console(width=80, highlight=False)
    counts = [
        f"{sum(job.status == status for job in jobs)} {status}"
        for status in ("done", "failed", "skipped")
    ]
    table = Table(title=f"Sweep: {', '.join(counts)}", box=SIMPLE, title_justify="left")
    longest = max((len(job.name) for job in jobs), default=0)
    table.add_column("job", overflow="fold", min_width=min(longest, 30))
    table.add_column("status")
    table.add_column(metric, justify="right")
    table.add_column("reason", overflow="fold")
    for job in jobs:
        score = "" if job.score is None else f"{job.score:.4f}"
        table.add_row(escape(job.name), job.status, score, escape(job.reason))
    console.print(table)
    return int(any(job.status == "failed" for job in jobs))
