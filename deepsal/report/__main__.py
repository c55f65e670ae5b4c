"""Command line of the reports: `python -m deepsal.report FOLDER`, or one of its commands."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from deepsal.report import wandb_workspace
from deepsal.report.figures import paper
from deepsal.report.page import run_page, sweep_page
from deepsal.report.tables import formats, runs, seeds, v1_similarity
from deepsal.runs.run_records import is_run_folder
from deepsal.terminal import run_command_line
from deepsal.vocabulary import STAGES

app = typer.Typer(
    help="Pages, tables and figures of run folders. `python -m deepsal.report FOLDER` writes the "
    "page of a run or of a sweep.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.command("page")
def page_command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The run folder.")],
    baselines: Annotated[
        list[Path],
        typer.Option(
            "--baselines",
            metavar="RUN",
            default_factory=list,
            show_default=False,
            help="The folder of a tested baseline. Repeat the option for more baselines. Those "
            "in the parent folder of the run are included without it.",
        ),
    ],
) -> None:
    """Write the page of one run: RUN/report.html."""
    typer.echo(run_page.write_run_page(run, baselines))


@app.command("sweep")
def sweep_command(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="A folder that contains run folders.")
    ],
) -> None:
    """Write one page of all runs below a folder: FOLDER/report.html."""
    typer.echo(sweep_page.write_sweep_page(folder))


@app.command("table")
def table_command(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="RUN", help="Folders of tested runs, or folders of such runs."),
    ],
    to: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write to a .md, .csv or .tex file, do not print."),
    ] = None,
    over_seeds: Annotated[
        bool, typer.Option("--seeds", help="One row for runs that differ in their seed only.")
    ] = False,
) -> None:
    """Compare test scores of runs: means with intervals, and paired tests."""
    tested = [run for folder in folders for run in runs.find_tested_runs(folder)]
    comparison = seeds.compare_over_seeds(tested) if over_seeds else runs.compare_runs(tested)
    if to is None:
        formats.print_comparison(comparison, Console(highlight=False))
    else:
        typer.echo(formats.write_table(comparison, to))


@app.command("v1")
def v1_command(
    folders: Annotated[
        list[Path], typer.Argument(metavar="RUN", help="Folders of runs with do=[v1].")
    ],
    to: Annotated[Path, typer.Option(metavar="FILE", help="A .md, .csv or .tex file.")],
) -> None:
    """Write a table of the stages of runs against macaque V1."""
    typer.echo(v1_similarity.write_v1_table(folders, to))


@app.command("figures")
def figures_command(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER", help="A run folder, or a folder that contains run folders."
        ),
    ],
) -> None:
    """Write PDF and SVG figures for a paper: FOLDER/figures/paper/."""
    for file in paper.write_paper_figures(folder):
        typer.echo(file)


@app.command("workspace")
def workspace_command(
    project: Annotated[str, typer.Option(help="The W&B project.")],
    entity: Annotated[str, typer.Option(help="The W&B user or team.")],
    stages: Annotated[
        list[str],
        typer.Option(help="A stage that the runs watch. Repeat for more."),
    ] = [*STAGES],  # noqa: B006  typer reads the default and does not change it
    sources: Annotated[
        list[str],
        typer.Option(help="A kind of fields that the runs watch (rf.sources). Repeat for more."),
    ] = [*wandb_workspace.FIELD_SOURCES],  # noqa: B006
) -> None:
    """Create a W&B dashboard; needs the extra dashboard and a W&B login."""
    workspace = wandb_workspace.build_workspace(project, entity, stages, sources)
    typer.echo(wandb_workspace.save_workspace(workspace))


def main(arguments: Sequence[str]) -> int:
    """Run one command and return the exit code.

    Args:
        arguments: a command and its arguments. A folder alone is short for `page FOLDER`, or for
            `sweep FOLDER` where it is no run folder.
    """
    commands = {str(command.name) for command in app.registered_commands}
    if arguments and arguments[0] not in commands and not arguments[0].startswith("-"):
        folder = Path(arguments[0])
        if not folder.is_dir():
            typer.echo(
                f"there is no run folder or sweep folder {folder}; name one "
                "(`python -m deepsal runs ls` lists runs), or one of the commands "
                f"{', '.join(sorted(commands))}",
                err=True,
            )
            return 2
        arguments = ["page" if is_run_folder(folder) else "sweep", *arguments]
    return run_command_line(app, [*arguments], "python -m deepsal.report")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
