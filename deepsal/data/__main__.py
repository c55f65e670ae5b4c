"""Command line for data sets: `python -m deepsal.data cards | fetch | check | sheet | export`."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from deepsal.data.download.fetch import fetch_dataset
from deepsal.data.formats.csv_folder import write_csv_folder
from deepsal.data.index import dataset_cards, load_dataset
from deepsal.data.inspect.check import check_dataset
from deepsal.data.inspect.contact_sheet import fixation_sheet, save_png, search_array_sheet
from deepsal.data.popout.popout import TARGET_CONTRASTS, popout_test_arrays
from deepsal.terminal import run_command_line

OWN_OPTIONS = {
    ", or use data=popout, which needs no files|; data=popout needs .*": "",
    "data_dir=": "--data ",
}
"""Options of run.py that errors name, and those of this command line."""
app = typer.Typer(help="Data sets on disk.", add_completion=False, pretty_exceptions_enable=False)

DatasetName = Annotated[str, typer.Argument(help="A name of `cards`, or a folder with images.csv.")]
DataFolder = Annotated[
    Path, typer.Option("--data", envvar="DEEPSAL_DATA", help="The folder that holds the data set.")
]


@app.command("cards")
def print_cards() -> None:
    """List counts, blur and licence of every published data set."""
    typer.echo(str(dataset_cards()))


@app.command("fetch")
def fetch_release(
    name: Annotated[str, typer.Argument(help="osie, nus_scene, mit1003 …")],
    data_dir: Annotated[
        Path, typer.Option("--to", envvar="DEEPSAL_DATA", help="The data folder.")
    ] = Path("data"),
    mirror: Annotated[
        str | None,
        typer.Option(envvar="DEEPSAL_MIRROR", help="An address that holds NAME/FILE."),
    ] = None,
) -> None:
    """Download a data set from its official address."""
    typer.echo(f"{name} is in {fetch_dataset(name, data_dir, mirror)}")


@app.command("check")
def print_check(name: DatasetName, data_dir: DataFolder = Path("data")) -> None:
    """Check that a data set is complete and readable; exit code 1 for a fault."""
    report = check_dataset(load_dataset(name, data_dir))
    typer.echo(str(report))
    raise typer.Exit(int(bool(report.faults)))


@app.command("sheet")
def save_sheet(
    name: DatasetName,
    file: Annotated[Path, typer.Option("--to", help="The new PNG file.")],
    data_dir: DataFolder = Path("data"),
    image_count: Annotated[int, typer.Option("--images", help="The number of images.")] = 24,
) -> None:
    """Draw images with their fixations; for popout, all search arrays."""
    if name == "popout":
        save_png(search_array_sheet(popout_test_arrays(), len(TARGET_CONTRASTS)), file)
    else:
        save_png(fixation_sheet(load_dataset(name, data_dir), image_count), file)
    typer.echo(f"The contact sheet of {name} is {file}")


@app.command("export")
def export_csv_folder(
    name: DatasetName,
    folder: Annotated[Path, typer.Option("--to", help="The new folder.")],
    data_dir: DataFolder = Path("data"),
) -> None:
    """Write a data set as images and CSV tables."""
    dataset = load_dataset(name, data_dir)
    write_csv_folder(dataset, folder)
    options = f"data=folder data.dataset.path={folder} data.dataset.sigma={dataset.sigma:g}"
    typer.echo(f"{dataset.name} is in {folder}; to use it: {options}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code, see `run_command_line`."""
    return run_command_line(app, arguments, "python -m deepsal.data", OWN_OPTIONS)


if __name__ == "__main__":
    sys.exit(main())
