"""Reports at the end of runs and sweeps; a report that fails does not fail the run."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path


def report_run(folder: Path, title: str) -> None:
    """Draw the change of the fields, write a run's page, and print its summary.

    Args:
        folder: the run folder.
        title: title of the figure.
    """
    from deepsal.report.figures import change
    from deepsal.report.page import run_page
    from deepsal.report.tables import terminal

    _try_each(
        folder,
        partial(change.draw_field_change, folder, title),
        partial(run_page.write_run_page, folder),
        partial(terminal.print_summary, folder),
    )


def report_sweep(folder: Path) -> None:
    """Write the page of a sweep, if any of its jobs has started.

    Args:
        folder: the folder of the sweep.
    """
    if any(folder.glob("*/status")):
        from deepsal.report.page import sweep_page

        _try_each(folder, partial(sweep_page.write_sweep_page, folder))


def _try_each(folder: Path, *parts: Callable[[], object]) -> None:
    for part in parts:
        try:
            part()
        except Exception as error:
            retry = f"to try again: python -m deepsal.report {folder}"
            message = f"no report: {type(error).__name__}: {error}; {retry}"
            print(message, file=sys.stderr)  # noqa: T201
