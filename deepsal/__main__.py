"""Command line of deepsal: `python -m deepsal predict` for a user's own images, and `runs`."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from deepsal.runs import run_commands
from deepsal.terminal import run_command_line

OWN_OPTIONS = {"ckpt=": "--ckpt ", "device=": "--device "}
"""Options of run.py that errors name, and those of this command line."""
app = typer.Typer(
    help="Predictions for your own images, and lists of runs. Other command lines: "
    "`python run.py --help` (trainings), `python -m deepsal.data --help` (data sets), "
    "`python -m deepsal.report --help` (pages, tables, figures).",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(run_commands.app, name="runs")


@app.command("predict")
def predict_command(
    ckpt: Annotated[
        str,
        typer.Option(metavar="RUN", help="A run folder, a part of its name, or a checkpoint."),
    ],
    folder: Annotated[Path, typer.Option("--to", metavar="FOLDER", help="Folder of the outputs.")],
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGES",
            default_factory=list,
            show_default=False,
            help="Image files, folders (with their subfolders) or patterns such as 'a/*.jpg'.",
        ),
    ],
    map_format: Annotated[
        str, typer.Option("--format", metavar="npy|hdf5", help="Of the densities, float32.")
    ] = "npy",
    box: Annotated[
        list[str],
        typer.Option(
            metavar="NAME=X0,Y0,X1,Y1",
            help="A box on every upright image, in pixels. Repeat the option for more boxes.",
            show_default=False,
        ),
    ] = [],  # noqa: B006  typer reads the default and does not change it
    boxes: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="Boxes of each image: image,label,x0,y0,x1,y1."),
    ] = None,
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="A B", help="Compare two versions of an image, of one size."),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(help="cpu, cuda, cuda:1 … By default a GPU if there is one."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace outputs that exist.")
    ] = False,
) -> None:
    """Predict where people look in your images.

    Each image has its heat map (.overlay.png), its density over the upright image (.npy), and the
    share of fixations in each quadrant and box (.json).
    """
    from deepsal.runs import image_boxes, image_paths, predict

    if map_format not in {"npy", "hdf5"}:
        raise ValueError(f"--format {map_format}: set npy or hdf5")
    paths = image_paths.list_pictures([*images, *(compare or ())], folder)
    if not paths:
        raise ValueError("no image is named; add files, folders or patterns, or --compare A B")
    if not any(path.exists() for path in paths):
        raise FileNotFoundError(f"{paths[0]} does not exist; name image files or folders")
    own = image_boxes.read_boxes(boxes) if boxes else {}
    common = [image_boxes.parse_box(each) for each in box]
    job = predict.PredictionJob(
        paths,
        folder,
        image_boxes.boxes_of_images(paths, common, own),
        "hdf5" if map_format == "hdf5" else "npy",
        image_paths.compared_pictures(compare, paths) if compare else None,
    )
    if not overwrite:
        job.refuse_existing()
    from deepsal.runs.image_predictor import ImagePredictor  # imports torch

    failures, comparison = predict.run_predictions(job, ImagePredictor(ckpt, device))
    if comparison:
        print_comparison(comparison)
    done, count = len(paths) - failures, len(paths)
    typer.echo(f"{done} of {count} image{'s' * (count > 1)} predicted, in {folder}")
    raise typer.Exit(int(failures > 0))


def print_comparison(comparison: dict[str, Any]) -> None:
    """Print the shares of two images, and the similarity of their densities."""
    typer.echo(f"{'share of fixations':32}{'first':>9}{'second':>9}{'change':>9}")
    for label, row in (comparison["boxes"] or comparison["quadrants"]).items():
        shares = "".join(
            f"{'–' if row[key] is None else format(row[key], form):>9}"
            for key, form in (("first", ".1%"), ("second", ".1%"), ("difference", "+.1%"))
        )
        typer.echo(f"{label[:31]:32}{shares}")
    similarity = comparison["similarity"]
    scores = "  ".join(f"{name.upper()} {value:.3f}" for name, value in similarity.items())
    typer.echo(f"similarity of the two maps: {scores}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code, see `run_command_line`."""
    return run_command_line(app, arguments, "python -m deepsal", OWN_OPTIONS)


if __name__ == "__main__":
    sys.exit(main())
