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
from deepsal.report.page.field_data import Stage
from deepsal.report.run_folders import Job, depths, found, mean_interval
from deepsal.rf.plot.grid import COLOURS
from deepsal.statistics import interval
from deepsal.vocabulary import MEASURES, SCORES

COLUMN, PAGE = 3.25, 6.75
"""Widths of the usual two-column templates, inches."""
STYLE: Any = {
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
INKS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#555555", "#e69f00", "#56b4e9")
MARKS = "osD^vPX"
ACROSS, STRIPS, MOST, NARROW = 8, 6, 10, 4


def write(folder: Path) -> list[Path]:
    """Write a run's or a sweep's figures into `figures/paper/`.

    A run: per stage a grid of its units, an evolution strip and radial profiles; and all stages
    through training. Runs of several depths: scores and fields against depth.

    Raises:
        FileNotFoundError: neither a run with fields nor a folder of runs.
    """
    with mpl.rc_context(STYLE):
        stages = field_data.stages(folder)
        made = of_run(stages) if stages else of_sweep(found(folder))
        if not made:
            raise FileNotFoundError(f"{folder} holds neither fields/ nor runs of several depths")
        place = folder / "figures" / "paper"
        place.mkdir(parents=True, exist_ok=True)
        return [
            _saved(figure, place / f"{name}.{kind}")
            for name, figure in made.items()
            for kind in ("pdf", "svg")
        ]


def of_run(stages: Sequence[Stage]) -> dict[str, Figure]:
    """Return the figures of one run by name."""
    made: dict[str, Figure] = {}
    for stage in stages:
        made[f"{stage.name}-grid"] = grid(stage)
        made[f"{stage.name}-evolution"] = strip(stage)
        made[f"{stage.name}-profile"] = profile(stage)
    return {**made, "stages": through(stages)}


def of_sweep(jobs: Sequence[Job]) -> dict[str, Figure]:
    """Return figures against depth; {} for fewer than two depths."""
    known = depths(jobs)
    if len(known) < 2:
        return {}
    backbones = [*dict.fromkeys(str(job.options.get("backbone.name")) for job in jobs)]
    made = {"depth-scores": _depth_scores(jobs, known, backbones)}
    for backbone in backbones:
        mine = [job for job in jobs if str(job.options.get("backbone.name")) == backbone]
        if any(job.fields for job in mine):
            made[f"depth-fields-{Path(backbone).name}"] = _depth_fields(mine, known)
    return made


def grid(stage: Stage) -> Figure:
    """Draw all units at the last checkpoint, one column wide."""
    count = len(stage.units)
    rows = -(-count // ACROSS)
    cell = COLUMN / ACROSS
    figure = Figure(figsize=(COLUMN, rows * (cell + 0.1) + 0.3))
    axes = figure.subplots(rows, ACROSS, squeeze=False)
    for axis in axes.ravel():
        axis.axis("off")
    for i, (axis, unit) in enumerate(zip(axes.ravel(), stage.units, strict=False)):
        _field(axis, stage, -1, i)
        axis.set_title(str(unit), fontsize=5, pad=1)
    figure.suptitle(f"{stage.name}, epoch {stage.checkpoints[-1]}; panel {stage.side} px", y=0.99)
    top = 1 - 0.3 / figure.get_figheight()
    figure.subplots_adjust(0.01, 0.01, 0.99, top, wspace=0.06, hspace=0.25)
    return figure


def strip(stage: Stage) -> Figure:
    """Draw the first units (rows) through training (columns); few checkpoints fit one column."""
    count, last = min(STRIPS, len(stage.units)), len(stage.checkpoints) - 1
    shown = np.unique(np.linspace(0, last, min(MOST, last + 1)).round().astype(int)).tolist()
    width = PAGE if len(shown) > NARROW else COLUMN
    cell = min((width - 0.5) / len(shown), 0.75)
    figure = Figure(figsize=(width, count * cell + 0.25))
    axes = figure.subplots(count, len(shown), squeeze=False)
    for row in range(count):
        for column, checkpoint in enumerate(shown):
            axis = axes[row, column]
            _field(axis, stage, checkpoint, row)
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


def profile(stage: Stage) -> Figure:
    """Draw radial profiles before and after: medians over units and quartiles, one column wide."""
    figure = Figure(figsize=(COLUMN, 2.1), layout="constrained")
    axis = figure.subplots()
    axis.axhline(0, color="0.6", linewidth=0.6)
    for ink, style, at in ((INKS[4], "--", 0), (INKS[0], "-", -1)):
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


def through(stages: Sequence[Stage]) -> Figure:
    """Draw each measure's median over units with its interval through training, a page wide."""
    measures = [m for m in MEASURES if m in stages[0].measures]
    figure = Figure(figsize=(PAGE, 2.1), layout="constrained")
    axes = figure.subplots(1, len(measures), squeeze=False)[0]
    for axis, measure in zip(axes, measures, strict=True):
        for i, stage in enumerate(stages):
            values = [interval(v)[:3] for v in stage.measures[measure]]
            _line(axis, stage.checkpoints, values, i, stage.name)
        axis.set(xlabel="epoch", title=fill(MEASURES[measure], 18))
    _legend(figure, axes[0])
    return figure


def _depth_scores(jobs: Sequence[Job], known: list[str], backbones: list[str]) -> Figure:
    shown = [score for score in SCORES if any(score in job.scores for job in jobs)]
    figure = Figure(figsize=(PAGE, 2.1), layout="constrained")
    axes = figure.subplots(1, max(len(shown), 1), squeeze=False)[0]
    for axis, score in zip(axes, shown, strict=False):
        for i, backbone in enumerate(backbones):
            values = [mean_interval(jobs, backbone, depth, score) for depth in known]
            _line(axis, range(len(known)), values, i, backbone)
        axis.set(title=SCORES[score], xlabel="first stage that learns")
        axis.set_xticks(range(len(known)), known, rotation=45)
    _legend(figure, axes[0])
    return figure


def _depth_fields(jobs: Sequence[Job], known: list[str]) -> Figure:
    measures = [m for m in MEASURES if any(m in job.fields for job in jobs)]
    figure = Figure(figsize=(PAGE, 2.1), layout="constrained")
    axes = figure.subplots(1, len(measures), squeeze=False)[0]
    stages = [*dict.fromkeys(s for job in jobs for m in measures for s in job.fields.get(m, {}))]
    for axis, measure in zip(axes, measures, strict=True):
        for i, stage in enumerate(stages):
            each = [[j for j in jobs if j.options.get("finetune.name") == depth] for depth in known]
            seeds = [[j.fields.get(measure, {}).get(stage, np.nan) for j in js] for js in each]
            values = [(mean(s), np.nan, np.nan) for s in seeds]
            _line(axis, range(len(known)), values, i, stage)
        axis.set(title=fill(MEASURES[measure], 18), xlabel="first stage that learns")
        axis.set_xticks(range(len(known)), known, rotation=45)
    _legend(figure, axes[0])
    return figure


def mean(values: Sequence[float]) -> float:
    """Return the mean of the finite values, NaN without one.

    >>> mean([1.0, float("nan"), 2.0])
    1.5
    """
    known = [value for value in values if np.isfinite(value)]
    return sum(known) / len(known) if known else float("nan")


def _legend(figure: Figure, axis: Axes) -> None:
    handles, names = axis.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=len(names) or 1)


def _line(
    axis: Axes,
    x: Sequence[int],
    values: Sequence[tuple[float, ...]],
    number: int,
    name: str,
) -> None:
    y, low, high = np.array(values, dtype=np.float64).T
    bars = np.nan_to_num([y - low, high - y]).clip(0)
    ink, mark = INKS[number % len(INKS)], MARKS[number % len(MARKS)]
    axis.errorbar(x, y, bars, color=ink, marker=mark, elinewidth=0.6, label=name)


def _field(axis: Axes, stage: Stage, checkpoint: int, unit: int) -> None:
    colours = COLOURS[stage.picture[checkpoint, unit].astype(int) - 1]
    if np.isnan(stage.peak[checkpoint, unit]):
        colours = np.full_like(colours, 217)
    axis.imshow(colours, interpolation="nearest")


def _saved(figure: Figure, file: Path) -> Path:
    partial = file.with_name(f".{file.name}.partial")
    kind = file.suffix[1:]
    undated = {"CreationDate": None} if kind == "pdf" else {"Date": None}
    figure.savefig(partial, format=kind, dpi=300, metadata=undated)
    os.replace(partial, file)
    return file
