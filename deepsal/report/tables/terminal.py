"""What the terminal says at the end of a run."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from deepsal.rf import store
from deepsal.rf.measures import profile
from deepsal.rf.measures.similarity import field_correlation
from deepsal.runs import score_files
from deepsal.statistics import finite_median
from deepsal.vocabulary import SCORES, TARGET_SCORES, ScoreEntry


def print_summary(folder: Path, console: Console | None = None) -> None:
    """Print what a run found: scores beside centre and chance, what fields did, where files are.

    Args:
        folder: the run folder; parts it does not have are left out.
        console: where to print (default: standard output, at most 80 columns off a terminal).
    """
    console = console or Console(highlight=False)
    if (folder / "scores.json").is_file():
        console.print(score_table(folder))
        if set(TARGET_SCORES) & set(score_files.read_scores(folder)["scores"]["run"]):
            console.print(score_table(folder, TARGET_SCORES, "Search for the target"))
    if table := field_table(folder):
        console.print(table)
    kinds = {
        "report": "report.html",
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


def score_table(
    folder: Path, entries: Mapping[str, ScoreEntry] = SCORES, title: str = "Test scores"
) -> Table:
    """Return the mean scores of a run and its baselines, ± half a 95 % interval over images."""
    found = score_files.read_scores(folder)
    title = f"{title}, {found['dataset']}, {found['images']} images at their own size"
    table = Table(title=title, box=SIMPLE, title_style="bold", title_justify="left", pad_edge=False)
    table.add_column("")
    table.padding = (0, 0, 0, 1)
    known = [score for score in entries if score in found["scores"]["run"]]
    if len(known) > 7:  # eighty columns
        table.padding, table.show_edge = (0, 0, 0, 0), False
    for label, direction, _ in (entries[score] for score in known):
        table.add_column(f"{label}{'↓' if direction == 'min' else '↑'}", justify="right")
    for model, means in found["scores"].items():
        cells = [format_score(means[score]) for score in known]
        table.add_row(model, *cells, style="bold" if model == "run" else "")
    return table


class FieldChange(NamedTuple):
    """What training did to a stage: medians over units, fields on the fixed patches.

    correlation with epoch 0 · extent (px) at epoch 0 and now · dead: share of units without a top
    patch now.
    """

    stage: str
    units: int
    correlation: float
    extent: tuple[float, float]
    dead: float


def field_changes(folder: Path) -> list[FieldChange]:
    """Compare a run's first and last stored fields, stage by stage; [] where it has none."""
    files = sorted((folder / "fields").glob("epoch=*.npz"))
    if not files:
        return []
    stages = store.load_description(files[-1])["stages"]
    return [_stage_change(files[0], files[-1], stage, stages[stage]["sigma"]) for stage in stages]


def _stage_change(first: Path, last: Path, stage: str, sigma: float) -> FieldChange:
    before, after = (store.load_fields(file, f"{stage}/centred").field for file in (first, last))
    moved = field_correlation(*(profile.smooth_field(f, sigma) for f in (before, after)))
    extent = (
        finite_median(profile.field_extent(before)),
        finite_median(profile.field_extent(after)),
    )
    dead = float(np.mean(store.load_fields(last, f"{stage}/strongest").count == 0))
    return FieldChange(stage, len(after), finite_median(moved), extent, dead)


def field_table(folder: Path) -> Table | None:
    """Return, per stage, what training did to the fields; None where none were extracted."""
    changes = field_changes(folder)
    if not changes:
        return None
    last = max((folder / "fields").glob("epoch=*.npz"))
    epoch = store.load_description(last)["epoch"]
    table = Table(
        title=f"Receptive fields, epoch 0 → {epoch}: medians over units",
        box=SIMPLE,
        title_style="bold",
        title_justify="left",
        caption="Fields from conv3 on are not reliable: see README.md",
        caption_justify="left",
    )
    for column in ("stage", "units", "correlation with epoch 0", "extent (px)", "dead"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    for stage, units, correlation, (before, after), dead in changes:
        extent = f"{before:.1f} → {after:.1f}"
        table.add_row(stage, str(units), f"{correlation:.2f}", extent, f"{dead:.0%}")
    return table


def format_score(score: Mapping[str, float]) -> str:
    """Return a mean ± half its interval, short; the mean alone where there is no interval."""
    half = (score["high"] - score["low"]) / 2
    mean = score["mean"]
    digits = 3 if abs(mean) < 0.9995 else 2
    text = f"{mean:.{digits}f}" + (f"±{half:.2f}".replace("±0.", "±.") if half == half else "")
    return text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text
