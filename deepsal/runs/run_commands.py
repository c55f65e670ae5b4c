"""Commands that list, choose, describe and remove runs: `python -m deepsal runs`."""

import json
import time
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from deepsal.atomic import finite_or_none
from deepsal.runs import run_list, run_records, run_text
from deepsal.runs.run_names import RUNS_FOLDER, find_run

app = typer.Typer(help="Runs in folders: list, best, show, remove.", no_args_is_help=True)

Folders = Annotated[
    list[Path],
    typer.Argument(metavar="FOLDER", help="Folders with runs.", show_default="runs"),
]
Where = Annotated[
    str,
    typer.Option(
        metavar="OPTIONS", help="Only runs with these options, such as data=osie,seed=[0,1]."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("ls")
def list_command(
    folders: Folders = [RUNS_FOLDER],  # noqa: B006  typer reads the default and does not change it
    where: Where = "",
    sort: Annotated[
        str | None, typer.Option(metavar="SCORE", help="Best first, by nss, cc, kl …")
    ] = None,
    since: Annotated[
        str, typer.Option(metavar="DATE", help="Only runs since then, such as 2026-11-20 or 2d.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """List runs: state, score, data set, age, and options of their command lines that differ.

    Without --sort the newest is last. The score is that of the test, otherwise of the validation.
    """
    start = run_text.parse_since(since, time.time()) if since else 0
    records = [record for record in find_records(folders, where) if record.started >= start]
    records = run_list.sorted_by_score(records, sort) if sort else records
    if as_json:
        options = run_list.differing_options(records)
        print_json([run_text.run_values(*row) for row in zip(records, options, strict=True)])
        return
    for line in run_text.run_lines(records, sort or "nss"):
        typer.echo(line)
    states = [record.state for record in records]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    typer.echo(f"{len(records)} run{'s' * (len(records) != 1)}{f': {counts}' if counts else ''}")


@app.command("best")
def best_command(
    folders: Folders = [RUNS_FOLDER],  # noqa: B006
    by: Annotated[str, typer.Option(metavar="SCORE", help="nss, cc, kl …")] = "nss",
    where: Where = "",
    path: Annotated[bool, typer.Option("--path", help="Print only the folder.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print the finished training with the best test score, otherwise validation score.

    Runs with trainer=smoke train on two batches: they count only with --where trainer=smoke.
    """
    record = run_list.best_run(find_records(folders, where), by, where)
    if path:
        typer.echo(record.folder)
    elif as_json:
        print_json(run_text.run_values(record, record.options))
    else:
        typer.echo(f"{record.folder}  {by} {run_text.format_run_score(record.scores[by])}")


@app.command("show")
def show_command(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder or a part of its name.")],
    as_json: AsJson = False,
) -> None:
    """Describe one run: options, scores with 95 % intervals, commit, times, checkpoints."""
    folder = find_run(run, "show ", "status")
    if not run_records.is_run_folder(folder):
        raise FileNotFoundError(f"{folder} is no run folder; `ls {folder}` lists the runs below it")
    record = run_records.read_run_record(folder)
    if as_json:
        print_json(run_text.describe_run(record))
        return
    for line in run_text.description_lines(record):
        typer.echo(line)


@app.command("rm-failed")
def remove_command(
    folders: Folders = [RUNS_FOLDER],  # noqa: B006
    where: Where = "",
    yes: Annotated[bool, typer.Option("--yes", help="Remove them.")] = False,
) -> None:
    """List failed and interrupted runs with their sizes; remove them with --yes.

    A run that is done, preempted or running is never removed.
    """
    records = run_list.removable_runs(find_records(folders, where))
    for line in run_text.removal_lines(records):
        typer.echo(line)
    if yes:
        removed = run_list.remove_runs(records)
        typer.echo(f"{len(removed)} of {len(records)} removed")
    else:
        advice = "; to remove them: --yes" if records else ""
        typer.echo(f"{len(records)} failed or interrupted{advice}")


def find_records(folders: list[Path], where: str) -> list[run_records.RunRecord]:
    """Return the runs in folders that meet conditions; unreadable ones are named."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        records = run_list.list_runs(folders)
    for warning in caught:
        typer.echo(str(warning.message), err=True)
    return run_list.chosen_runs(records, where)


def print_json(value: Any) -> None:
    """Print plain values as JSON; NaN, as of a score without an interval, is null."""
    typer.echo(json.dumps(finite_or_none(value), indent=1, ensure_ascii=False, default=str))
