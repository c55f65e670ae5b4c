"""Summary of a run in the terminal: test scores, change of the fields, and the files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from deepsal.report.run_folders import field_files
from deepsal.report.score_text import direction_arrow, format_score
from deepsal.rf import store
from deepsal.runs import score_files
from deepsal.statistics import finite_median
from deepsal.vocabulary import SCORES, TARGET_SCORES, ScoreEntry

OUTPUTS = {
    "report": "report.html",
    "figures": "figures",
    "receptive fields": "fields",
    "checkpoints": "checkpoints",
    "logged numbers": "metrics.csv",
    "test scores": "scores.csv",
}
"""Outputs of a run and their names in its folder."""


def print_summary(folder: Path, console: Console | None = None) -> None:
    """Print a run's test scores with its baselines', the change of its fields, and its files.

    Args:
        folder: the run folder; missing parts are left out.
        console: where to print (default: standard output).
    """
    console = console or Console(highlight=False)
    if (folder / "scores.json").is_file():
        console.print(score_table(folder))
        if set(TARGET_SCORES) & set(score_files.read_scores(folder)["scores"]["run"]):
            console.print(score_table(folder, TARGET_SCORES, "Search for the target, same images"))
    if table := field_table(folder):
        console.print(table)
    console.print(f"Everything is in {folder}", soft_wrap=True, markup=False)
    for output, name in OUTPUTS.items():
        if (folder / name).exists():
            console.print(f"  {output:17} {name}")


def score_table(folder: Path, entries: Mapping[str, ScoreEntry] = SCORES, title: str = "") -> Table:
    """Return the mean scores of a run and its baselines, ± half a 95 % interval over images."""
    summary = score_files.read_scores(folder)
    left_out = f" ({number} without a map left out)" if (number := summary.get("left_out")) else ""
    title = title or (
        f"Test scores, {summary['dataset']}, {summary['images']} images{left_out} at their own size"
    )
    table = Table(
        title=escape(title), box=SIMPLE, title_style="bold", title_justify="left", pad_edge=False
    )
    scores = [score for score in entries if score in summary["scores"]["run"]]
    notes = []
    if summary.get("trained_on") not in (None, summary["dataset"]):
        notes.append(f"trained on {summary['trained_on']}")
    if "sauc" in scores and np.isnan(summary["scores"]["run"]["sauc"]["mean"]):
        notes.append("sAUC nan: no other test image has fixations")
    table.caption, table.caption_justify = escape("\n".join(notes)), "left"
    table.add_column("")
    table.padding = (0, 0, 0, 1)
    if len(scores) > 7:  # eighty columns
        table.padding, table.show_edge = (0, 0, 0, 0), False
    for score in scores:
        label = f"{entries[score].label}{direction_arrow(score)}"
        table.add_column(label, justify="right", overflow="fold")  # no digit is cut
    for model, means in summary["scores"].items():
        cells = [format_score(means[score], compact=True) for score in scores]
        table.add_row(model, *cells, style="bold" if model == "run" else "")
    return table


class FieldChange(NamedTuple):
    """Change of a stage's fields through training, as medians over units.

    correlation: with epoch 0 · extent: pixels at epoch 0 and at the end · correlation_error,
    extent_error: standard errors of a unit's at the end, NaN where they are unknown · dead_share:
    share of units without a strongest patch at the end; None where the run did not record such
    patches · reliability: at the end, of all stored units that respond; NaN where it is unknown.
    """

    stage: str
    units: int
    correlation: float
    correlation_error: float
    extent: tuple[float, float]
    extent_error: float
    dead_share: float | None
    reliability: float


def field_changes(folder: Path) -> list[FieldChange]:
    """Return the change from the first to the last checkpoint, stage by stage; [] without fields.

    The measures are of the fields on the first patch source (`rf.sources`).
    """
    files = field_files(folder)
    if not files:
        return []
    stored = store.load_description(files[-1])
    return [_stage_change(files[0], files[-1], stage, stored) for stage in stored["stages"]]


def field_table(folder: Path) -> Table | None:
    """Return the change of the fields, a row per stage; None without stored fields."""
    changes = field_changes(folder)
    if not changes:
        return None
    stored = store.load_description(field_files(folder)[-1])
    source, epoch = stored["sources"][0], stored["epoch"]
    measured = source in stored.get("noise_sources", ())
    kind = {"natural": "images", "grey": "(noise)"}[source] if measured else "patches"
    table = Table(
        title=f"Receptive fields on {source} {kind}, epoch 0 → {epoch}, medians",
        box=SIMPLE,
        title_style="bold",
        title_justify="left",
        caption="reliability: of all units of the stage, the rest of those drawn\n"
        "±: median standard error of a unit\n"
        "–: not determined, because reliability is below .3"
        if measured
        else "Means over patches from conv3 on are not reliable: see README.md",
        caption_justify="left",
        padding=(0, 0),  # eighty columns
        pad_edge=False,
    )
    columns = ["stage", "units", "reliability", "correlation with epoch 0", "extent (px)"]
    columns += ["dead"] if "strongest" in stored["sources"] else []
    for column in columns:
        table.add_column(column, justify="left" if column == "stage" else "right")
    for of in changes:
        before, after = of.extent
        extent = f"{_number(before, np.nan, 1)} → {_number(after, of.extent_error, 1)}"
        table.add_row(
            *(of.stage, str(of.units)),
            _number(of.reliability, np.nan, 2),
            *(_number(of.correlation, of.correlation_error, 2), extent),
            *([] if of.dead_share is None else [f"{of.dead_share:.0%}"]),
        )
    return table


def _number(value: float, error: float, digits: int) -> str:
    if not np.isfinite(value):
        return "–"
    return f"{value:.{digits}f}{f' ± {error:.{digits}f}' if np.isfinite(error) else ''}"


def _stage_change(first: Path, last: Path, stage: str, stored: Mapping[str, Any]) -> FieldChange:
    before, after = (store.load_stage_arrays(file, f"{stage}/measure") for file in (first, last))
    dead_share, sources = None, stored["sources"]
    measured = sources[0] in stored.get("noise_sources", ())
    load = store.load_noise_fields if measured else store.load_fields
    if "strongest" in sources:
        dead_share = float(np.mean(store.load_fields(last, f"{stage}/strongest").count == 0))
    return FieldChange(
        stage,
        len(after["correlation"]),
        finite_median(after["correlation"]),
        _median_error(after, "correlation"),
        (finite_median(before["extent"]), finite_median(after["extent"])),
        _median_error(after, "extent"),
        dead_share,
        finite_median(load(last, f"{stage}/{sources[0]}").reliability),
    )


def _median_error(measures: Mapping[str, Any], name: str) -> float:
    """Return the median over units of a measure's standard error; NaN where it has none."""
    return finite_median(measures.get(f"{name}_error", np.array([np.nan])))
