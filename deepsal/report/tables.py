"""What the terminal says at the end of a run."""

from pathlib import Path

import numpy as np
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from deepsal.report import scores
from deepsal.rf import measure, store

SCORES = {"nss": "NSS", "cc": "CC", "kl": "KL", "sim": "SIM", "auc": "AUC"}
NAMES = {"run": "this run", "centre": "centre prior", "chance": "chance"}
STAGES = ("conv1", "conv2", "conv3", "conv4", "conv5")


def summary(folder: Path, console: Console | None = None) -> None:
    """Print what a run found: scores beside centre and chance, what fields did, where files are.

    Args:
        folder: the run folder; parts it does not have are left out.
        console: where to print (default: standard output, at most 80 columns off a terminal).
    """
    console = console or Console(highlight=False)
    if (folder / "scores.json").is_file():
        console.print(score_table(folder))
    if table := field_table(folder):
        console.print(table)
    kinds = {
        "pictures": "figures",
        "receptive fields": "fields",
        "checkpoints": "checkpoints",
        "numbers": "metrics.csv",
        "test scores": "scores.csv",
    }
    here = {kind: name for kind, name in kinds.items() if (folder / name).exists()}
    console.print(f"Everything is in {folder}", soft_wrap=True)
    for kind, name in here.items():
        console.print(f"  {kind:17} {name}")


def score_table(folder: Path) -> Table:
    """Return the mean scores of a run and its baselines, ± half a 95 % interval over images."""
    found = scores.read(folder)
    title = f"Test scores, {found['dataset']}, {found['images']} images at their own size"
    table = Table(title=title, box=SIMPLE, title_style="bold", title_justify="left")
    table.add_column("")
    table.padding = (0, 0, 0, 1)
    for name in SCORES.values():
        table.add_column(f"{name} {'↓' if name == 'KL' else '↑'}", justify="right")
    for model, means in found["scores"].items():
        cells = [_cell(means[score]) for score in SCORES]
        table.add_row(NAMES.get(model, model), *cells, style="bold" if model == "run" else "")
    return table


def field_table(folder: Path) -> Table | None:
    """Return, per stage, what training did to the fields; None where none were extracted."""
    files = sorted((folder / "fields").glob("epoch=*.npz"))
    if not files:
        return None
    first, last = files[0], files[-1]
    about = store.about(last)
    table = Table(
        title=f"Receptive fields, epoch 0 → {about['epoch']} (fixed patches, medians over units)",
        box=SIMPLE,
        title_style="bold",
        title_justify="left",
    )
    for column in ("stage", "units", "correlation with epoch 0", "extent (px)", "dead"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    known = store.names(last)
    for stage in (stage for stage in STAGES if f"{stage}/fixed" in known):
        before, after = (store.load(file, f"{stage}/fixed") for file in (first, last))
        sigma = about["stages"][stage]["sigma"]
        moved = measure.correlation(*(measure.smoothed(f.field, sigma) for f in (before, after)))
        sides = [measure.median(measure.extent(f.field)) for f in (before, after)]
        dead = np.mean(store.load(last, f"{stage}/topk").count == 0)
        table.add_row(
            stage,
            str(len(after.units)),
            f"{measure.median(moved):.2f}",
            f"{sides[0]:.1f} → {sides[1]:.1f}",
            f"{dead:.0%}",
        )
    return table


def _cell(score: dict[str, float]) -> str:
    half = (score["high"] - score["low"]) / 2
    return f"{score['mean']:.3f} ±{half:.2f}".replace("±0.", "±.")
