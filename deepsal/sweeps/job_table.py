"""Table of a sweep's jobs for the terminal."""

from collections.abc import Callable, Sequence

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from deepsal.runs.folder import JobOutcome


def run_with_table(run: Callable[[], object], jobs: Sequence[JobOutcome]) -> int:
    """Run a sweep, and print the table of its jobs also if an error or a signal ends it.

    Args:
        run: starts the jobs.
        jobs: their outcomes, which grow meanwhile; none for a single run.

    Returns:
        The exit code.
    """
    code = 0
    try:
        run()
    finally:
        if jobs:
            code = print_job_table(jobs)
    return code


def print_job_table(jobs: Sequence[JobOutcome], console: Console | None = None) -> int:
    """Print the jobs of a sweep at 80 columns.

    The title of the column of scores is the metric; where jobs differ in it, each score names it.

    Args:
        jobs: their outcomes.
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
    metrics = {job.metric for job in jobs if job.score is not None}
    same = len(metrics) == 1
    table.add_column(*(metrics if same else ["score"]), justify="right")
    table.add_column("reason", overflow="fold")
    for job in jobs:
        named = "" if same else f"{job.metric} "
        score = "" if job.score is None else f"{named}{job.score:.4f}"
        table.add_row(escape(job.name), job.status, score, escape(job.reason))
    console.print(table)
    return int(any(job.status == "failed" for job in jobs))
