"""What can be made of run folders: `python -m deepsal.report FOLDER`, or one of the commands."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from deepsal.report import run_folders, wandb_workspace
from deepsal.report.figures import paper
from deepsal.report.page import run_page, sweep_page
from deepsal.report.tables import formats, runs, seeds
from deepsal.vocabulary import STAGES


def of_run(arguments: Sequence[str]) -> Path:
    """Write a run's page."""
    parser = argparse.ArgumentParser(prog="deepsal.report page", description="One page of a run.")
    parser.add_argument("run", type=Path, help="a run folder")
    more = "tested baselines to show beside it, besides those next to it"
    parser.add_argument("--beside", nargs="+", type=Path, default=[], metavar="RUN", help=more)
    given = parser.parse_args(arguments)
    return run_page.write(given.run, given.beside)


def of_sweep(arguments: Sequence[str]) -> Path:
    """Write the page of a set of runs."""
    about = "One page of all runs below a folder."
    parser = argparse.ArgumentParser(prog="deepsal.report sweep", description=about)
    parser.add_argument("folder", type=Path, help="holds run folders")
    return sweep_page.write(parser.parse_args(arguments).folder)


def of_runs(arguments: Sequence[str]) -> Path | None:
    """Print the table of several runs, or write it."""
    about = "Several runs as one table, with intervals and paired tests."
    parser = argparse.ArgumentParser(prog="deepsal.report table", description=about)
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="a tested run's folder, or one of runs"
    )
    parser.add_argument("--to", type=Path, metavar="FILE", help=".md, .csv or .tex")
    parser.add_argument(
        "--seeds", action="store_true", help="one row for runs but for their seed alike"
    )
    given = parser.parse_args(arguments)
    read = seeds.over_seeds if given.seeds else runs.compare
    found = read([run for folder in given.runs for run in runs.tested(folder)])
    if given.to is None:
        formats.show(found, Console(highlight=False))
        return None
    formats.save(found, given.to)
    return Path(given.to)


def for_paper(arguments: Sequence[str]) -> str:
    """Write the figures of a run or a sweep."""
    about = "PDF and SVG figures of a run or of a sweep, in figures/paper/."
    parser = argparse.ArgumentParser(prog="deepsal.report figures", description=about)
    parser.add_argument("folder", type=Path, help="a run folder, or holds run folders")
    return "\n".join(map(str, paper.write(parser.parse_args(arguments).folder)))


def of_project(arguments: Sequence[str]) -> str:
    """Create the dashboard of a W&B project."""
    about = "A W&B dashboard; needs the extra dashboard and a W&B login."
    parser = argparse.ArgumentParser(prog="deepsal.report workspace", description=about)
    parser.add_argument("--project", required=True)
    parser.add_argument("--entity", required=True, help="W&B user or team")
    parser.add_argument("--stages", nargs="+", default=STAGES)
    parser.add_argument("--sources", nargs="+", default=wandb_workspace.SOURCES)
    given = parser.parse_args(arguments)
    made = wandb_workspace.workspace(given.project, given.entity, given.stages, given.sources)
    return str(made.save().url)


COMMANDS: dict[str, Callable[[Sequence[str]], object]] = {
    "page": of_run,
    "sweep": of_sweep,
    "table": of_runs,
    "figures": for_paper,
    "workspace": of_project,
}


def main(arguments: Sequence[str]) -> int:
    """Do one command; say what it made."""
    parser = argparse.ArgumentParser(prog="python -m deepsal.report", description=__doc__)
    parser.add_argument("command", choices=[*COMMANDS])
    parser.add_argument("rest", nargs=argparse.REMAINDER, help="COMMAND --help says more")
    if arguments and arguments[0] not in COMMANDS and (folder := Path(arguments[0])).is_dir():
        arguments = ["page" if run_folders.is_run(folder) else "sweep", *arguments]
    given = parser.parse_args(arguments)
    try:
        made = COMMANDS[given.command](given.rest)
    except (ValueError, OSError, ImportError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if made is not None:
        sys.stdout.write(f"{made}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
