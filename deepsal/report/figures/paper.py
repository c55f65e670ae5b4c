"""Figures for a paper: PDF and SVG, fonts embedded, as wide as a column or a page."""

import os
from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deepsal.report.page import field_data
from deepsal.report.page.field_data import StageFields
from deepsal.report.run_folders import RunSummary, find_runs, list_depths, mean_with_interval
from deepsal.rf.plot.grid import SIGNED_COLOURS
from deepsal.statistics import bootstrap_interval
from deepsal.vocabulary import MEASURES, SCORES

COLUMN_WIDTH, PAGE_WIDTH = 3.25, 6.75
"""Widths of the usual two-column templates, inches."""
PAPER_STYLE: Any = {
    "font.size": 7,
    "figure.titlesize": 7,
    "axes.titlesize": 7,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.labelsize": 6,
    "ytick.labelsize": 6,
    "legend.fontsize": 6,
    "legend.frameon": False,
    "lines.linewidth": 1.0,
    "lines.markersize": 2.5,
    "pdf.fonttype": 42,  # TrueType: what publishers ask for
    "svg.fonttype": "path",
    "svg.hashsalt": "deepsal",
}
LINE_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#555555", "#e69f00", "#56b4e9")
LINE_MARKERS = "osD^vPX"
GRID_COLUMNS, STRIP_UNITS, STRIP_CHECKPOINTS, COLUMN_CHECKPOINTS = 8, 6, 10, 4


def write_paper_figures(folder: Path) -> list[Path]:
    """Write a run's or a sweep's figures into `figures/paper/`.

    A run: per stage a grid of its units, an evolution strip and radial profiles; and all stages
    through training. Runs of several depths: scores and fields against depth.

    Raises:
        FileNotFoundError: neither a run with fields nor a folder of runs.
    """
    with mpl.rc_context(PAPER_STYLE):
        stages = field_data.read_stage_fields(folder)
        made = run_figures(stages) if stages else depth_figures(find_runs(folder))
        if not made:
            raise FileNotFoundError(f"{folder} holds neither fields/ nor runs of several depths")
        place = folder / "figures" / "paper"
        place.mkdir(parents=True, exist_ok=True)
        return [
            _save_figure(figure, place / f"{name}.{kind}")
            for name, figure in made.items()
            for kind in ("pdf", "svg")
        ]


def run_figures(stages: Sequence[StageFields]) -> dict[str, Figure]:
    """Return the figures of one run by name."""
    made: dict[str, Figure] = {}
    for stage in stages:
        made[f"{stage.name}-grid"] = draw_unit_grid(stage)
        made[f"{stage.name}-evolution"] = draw_evolution_strip(stage)
        made[f"{stage.name}-profile"] = draw_radial_profiles(stage)
    return {**made, "stages": draw_measures_over_training(stages)}


def depth_figures(jobs: Sequence[RunSummary]) -> dict[str, Figure]:
    """Return figures against depth; {} for fewer than two depths."""
    known = list_depths(jobs)
    if len(known) < 2:
        return {}
    backbones = [*dict.fromkeys(str(job.options.get("backbone.name")) for job in jobs)]
    made = {"depth-scores": _draw_scores_by_depth(jobs, known, backbones)}
    for backbone in backbones:
        mine = [job for job in jobs if str(job.options.get("backbone.name")) == backbone]
        if any(job.fields for job in mine):
            made[f"depth-fields-{Path(backbone).name}"] = _draw_measures_by_depth(mine, known)
    return made


def draw_unit_grid(stage: StageFields) -> Figure:
    """Draw all units at the last checkpoint, one column wide."""
    count = len(stage.units)
    rows = -(-count // GRID_COLUMNS)
    cell = COLUMN_WIDTH / GRID_COLUMNS
    figure = Figure(figsize=(COLUMN_WIDTH, rows * (cell + 0.1) + 0.3))
    axes = figure.subplots(rows, GRID_COLUMNS, squeeze=False)
    for axis in axes.ravel():
        axis.axis("off")
    for i, (axis, unit) in enumerate(zip(axes.ravel(), stage.units, strict=False)):
        _draw_field(axis, stage, -1, i)
        axis.set_title(str(unit), fontsize=5, pad=1)
    figure.suptitle(f"{stage.name}, epoch {stage.checkpoints[-1]}; panel {stage.side} px", y=0.99)
    top = 1 - 0.3 / figure.get_figheight()
    figure.subplots_adjust(0.01, 0.01, 0.99, top, wspace=0.06, hspace=0.25)
    return figure


def draw_evolution_strip(stage: StageFields) -> Figure:
    """Draw the first units (rows) through training (columns); few checkpoints fit one column."""
    count, last = min(STRIP_UNITS, len(stage.units)), len(stage.checkpoints) - 1
    shown = np.unique(
        np.linspace(0, last, min(STRIP_CHECKPOINTS, last + 1)).round().astype(int)
    ).tolist()
    width = PAGE_WIDTH if len(shown) > COLUMN_CHECKPOINTS else COLUMN_WIDTH
    cell = min((width - 0.5) / len(shown), 0.75)
    figure = Figure(figsize=(width, count * cell + 0.25))
    axes = figure.subplots(count, len(shown), squeeze=False)
    for row in range(count):
        for column, checkpoint in enumerate(shown):
            axis = axes[row, column]
            _draw_field(axis, stage, checkpoint, row)
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
            if row == 0:
                axis.set_title(f"epoch {stage.checkpoints[checkpoint]}", pad=2)
        label = f"{stage.name}\nunit {stage.units[row]}" if row == 0 else str(stage.units[row])
        axes[row, 0].set_ylabel(label, rotation=0, ha="right", va="center", labelpad=4)
    right = (0.45 + len(shown) * cell) / width
    top = 1 - 0.18 / figure.get_figheight()
    figure.subplots_adjust(0.45 / width, 0.01, min(right, 0.995), top, wspace=0.04, hspace=0.04)
    return figure


def draw_radial_profiles(stage: StageFields) -> Figure:
    """Draw radial profiles before and after: medians over units and quartiles, one column wide."""
    figure = Figure(figsize=(COLUMN_WIDTH, 2.1), layout="constrained")
    axis = figure.subplots()
    axis.axhline(0, color="0.6", linewidth=0.6)
    for ink, style, at in ((LINE_COLOURS[4], "--", 0), (LINE_COLOURS[0], "-", -1)):
        values = stage.profile[at]
        with np.errstate(invalid="ignore", divide="ignore"):
            scaled = values * np.sign(values[:, :1]) / np.abs(values).max(1, keepdims=True)
        alive = scaled[np.isfinite(scaled).all(1)]
        if len(alive):
            low, middle, high = np.percentile(alive, (25, 50, 75), axis=0)
            axis.fill_between(stage.radius, low, high, color=ink, alpha=0.25, linewidth=0)
            label = f"epoch {stage.checkpoints[at]}"
            axis.plot(stage.radius, middle, style, color=ink, label=label)
    axis.set(xlabel="distance from the middle (px)", ylabel="mean over the ring, its middle > 0")
    axis.set_title(f"{stage.name}: median and quartiles of {len(stage.units)} units")
    if axis.lines[1:]:
        axis.legend()
    return figure


def draw_measures_over_training(stages: Sequence[StageFields]) -> Figure:
    """Draw each measure's median over units with its interval through training, a page wide."""
    measures = [m for m in MEASURES if m in stages[0].measures]
    figure = Figure(figsize=(PAGE_WIDTH, 2.1), layout="constrained")
    axes = figure.subplots(1, len(measures), squeeze=False)[0]
    for axis, measure in zip(axes, measures, strict=True):
        for i, stage in enumerate(stages):
            values = [bootstrap_interval(v)[:3] for v in stage.measures[measure]]
            _draw_line(axis, stage.checkpoints, values, i, stage.name)
        axis.set(xlabel="epoch", title=fill(MEASURES[measure], 18))
    _add_legend(figure, axes[0])
    return figure


def _draw_scores_by_depth(
    jobs: Sequence[RunSummary], known: list[str], backbones: list[str]
) -> Figure:
    shown = [score for score in SCORES if any(score in job.scores for job in jobs)]
    figure = Figure(figsize=(PAGE_WIDTH, 2.1), layout="constrained")
    axes = figure.subplots(1, max(len(shown), 1), squeeze=False)[0]
    for axis, score in zip(axes, shown, strict=False):
        for i, backbone in enumerate(backbones):
            values = [mean_with_interval(jobs, backbone, depth, score) for depth in known]
            _draw_line(axis, range(len(known)), values, i, backbone)
        axis.set(title=SCORES[score].label, xlabel="first stage that learns")
        axis.set_xticks(range(len(known)), known, rotation=45)
    _add_legend(figure, axes[0])
    return figure


def _draw_measures_by_depth(jobs: Sequence[RunSummary], known: list[str]) -> Figure:
    measures = [m for m in MEASURES if any(m in job.fields for job in jobs)]
    figure = Figure(figsize=(PAGE_WIDTH, 2.1), layout="constrained")
    axes = figure.subplots(1, len(measures), squeeze=False)[0]
    stages = [*dict.fromkeys(s for job in jobs for m in measures for s in job.fields.get(m, {}))]
    for axis, measure in zip(axes, measures, strict=True):
        for i, stage in enumerate(stages):
            each = [[j for j in jobs if j.options.get("finetune.name") == depth] for depth in known]
            seeds = [[j.fields.get(measure, {}).get(stage, np.nan) for j in js] for js in each]
            values = [(finite_mean(s), np.nan, np.nan) for s in seeds]
            _draw_line(axis, range(len(known)), values, i, stage)
        axis.set(title=fill(MEASURES[measure], 18), xlabel="first stage that learns")
        axis.set_xticks(range(len(known)), known, rotation=45)
    _add_legend(figure, axes[0])
    return figure


def finite_mean(values: Sequence[float]) -> float:
    """Return the mean of the finite values, NaN without one.

    >>> finite_mean([1.0, float("nan"), 2.0])
    1.5
    """
    known = [value for value in values if np.isfinite(value)]
    return sum(known) / len(known) if known else float("nan")


def _add_legend(figure: Figure, axis: Axes) -> None:
    handles, names = axis.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=len(names) or 1)


def _draw_line(
    axis: Axes,
    x: Sequence[int],
    values: Sequence[tuple[float, ...]],
    number: int,
    name: str,
) -> None:
    y, low, high = np.array(values, dtype=np.float64).T
    bars = np.nan_to_num([y - low, high - y]).clip(0)
    ink, mark = LINE_COLOURS[number % len(LINE_COLOURS)], LINE_MARKERS[number % len(LINE_MARKERS)]
    axis.errorbar(x, y, bars, color=ink, marker=mark, elinewidth=0.6, label=name)


def _draw_field(axis: Axes, stage: StageFields, checkpoint: int, unit: int) -> None:
    colours = SIGNED_COLOURS[stage.picture[checkpoint, unit].astype(int) - 1]
    if np.isnan(stage.peak[checkpoint, unit]):
        colours = np.full_like(colours, 217)
    axis.imshow(colours, interpolation="nearest")


def _save_figure(figure: Figure, file: Path) -> Path:
    partial = file.with_name(f".{file.name}.partial")
    kind = file.suffix[1:]
    undated = {"CreationDate": None} if kind == "pdf" else {"Date": None}
    figure.savefig(partial, format=kind, dpi=300, metadata=undated)
    os.replace(partial, file)
    return file
