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


def page_command(arguments: Sequence[str]) -> Path:
    """Write a run's page."""
    parser = argparse.ArgumentParser(prog="deepsal.report page", description="One page of a run.")
    parser.add_argument("run", type=Path, help="a run folder")
    more = "tested baselines to show beside it, besides those next to it"
    parser.add_argument("--beside", nargs="+", type=Path, default=[], metavar="RUN", help=more)
    given = parser.parse_args(arguments)
    return run_page.write_run_page(given.run, given.beside)


def sweep_command(arguments: Sequence[str]) -> Path:
    """Write the page of a set of runs."""
    about = "One page of all runs below a folder."
    parser = argparse.ArgumentParser(prog="deepsal.report sweep", description=about)
    parser.add_argument("folder", type=Path, help="holds run folders")
    return sweep_page.write_sweep_page(parser.parse_args(arguments).folder)


def table_command(arguments: Sequence[str]) -> Path | None:
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
    read = seeds.compare_over_seeds if given.seeds else runs.compare_runs
    found = read([run for folder in given.runs for run in runs.find_tested_runs(folder)])
    if given.to is None:
        formats.print_comparison(found, Console(highlight=False))
        return None
    formats.write_table(found, given.to)
    return Path(given.to)


def figures_command(arguments: Sequence[str]) -> str:
    """Write the figures of a run or a sweep."""
    about = "PDF and SVG figures of a run or of a sweep, in figures/paper/."
    parser = argparse.ArgumentParser(prog="deepsal.report figures", description=about)
    parser.add_argument("folder", type=Path, help="a run folder, or holds run folders")
    return "\n".join(map(str, paper.write_paper_figures(parser.parse_args(arguments).folder)))


def workspace_command(arguments: Sequence[str]) -> str:
    """Create the dashboard of a W&B project."""
    about = "A W&B dashboard; needs the extra dashboard and a W&B login."
    parser = argparse.ArgumentParser(prog="deepsal.report workspace", description=about)
    parser.add_argument("--project", required=True)
    parser.add_argument("--entity", required=True, help="W&B user or team")
    parser.add_argument("--stages", nargs="+", default=STAGES)
    parser.add_argument("--sources", nargs="+", default=wandb_workspace.PATCH_SOURCES)
    given = parser.parse_args(arguments)
    made = wandb_workspace.build_workspace(given.project, given.entity, given.stages, given.sources)
    return str(made.save().url)


COMMANDS: dict[str, Callable[[Sequence[str]], object]] = {
    "page": page_command,
    "sweep": sweep_command,
    "table": table_command,
    "figures": figures_command,
    "workspace": workspace_command,
}


def main(arguments: Sequence[str]) -> int:
    """Do one command; say what it made."""
    parser = argparse.ArgumentParser(prog="python -m deepsal.report", description=__doc__)
    parser.add_argument("command", choices=[*COMMANDS])
    parser.add_argument("rest", nargs=argparse.REMAINDER, help="COMMAND --help says more")
    if arguments and arguments[0] not in COMMANDS and (folder := Path(arguments[0])).is_dir():
        arguments = ["page" if run_folders.is_run_folder(folder) else "sweep", *arguments]
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
