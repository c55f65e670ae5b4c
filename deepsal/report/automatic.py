"""Reports that runs and sweeps write by themselves; one that fails does not undo the run."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path


def report_run(folder: Path, title: str) -> None:
    """Draw the fields' change, write a run's page, and print its summary.

    Args:
        folder: the run folder.
        title: of the figure.
    """
    from deepsal.report.figures import change
    from deepsal.report.page import run_page
    from deepsal.report.tables import terminal

    draw_change, summary = (
        partial(change.draw_field_change, folder, title),
        partial(terminal.print_summary, folder),
    )
    _try_each(folder, draw_change, partial(run_page.write_run_page, folder), summary)


def report_sweep(folder: Path) -> None:
    """Write a sweep's page about the jobs that have begun.

    Args:
        folder: of the sweep.
    """
    if any(folder.glob("*/status")):
        from deepsal.report.page import sweep_page

        _try_each(folder, partial(sweep_page.write_sweep_page, folder))


def _try_each(folder: Path, *parts: Callable[[], object]) -> None:
    for part in parts:
        try:
            part()
        except Exception as error:
            again = f"python -m deepsal.report {folder} tries again"
            said = f"no report: {type(error).__name__}: {error}; {again}"
            print(said, file=sys.stderr)  # noqa: T201
