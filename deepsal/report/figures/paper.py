"""Figures of a run or a sweep for a paper: PDF and SVG, fonts embedded, a column or a page wide."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, cycle
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.text import Text

from deepsal import atomic
from deepsal.report.figures.claims import draw_claims
from deepsal.report.page.field_data import StageFields, read_stage_fields
from deepsal.report.run_folders import (
    RunSummary,
    find_runs,
    finite_mean,
    list_depths,
    mean_score,
)
from deepsal.rf import store
from deepsal.rf.plot import grid, sheets
from deepsal.runs.run_records import read_json
from deepsal.statistics import finite_median
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
EVOLUTION_UNITS, EVOLUTION_CHECKPOINTS = 6, 10
"""Largest numbers of rows and columns of an evolution sheet."""


def write_paper_figures(folder: Path) -> list[Path]:
    """Write a run's or a sweep's figures into `figures/paper/`.

    A run: its verdict on the claims; per stage the fields of all units, their evolution and radial
    profiles; and the measures of all stages through training. Runs of several depths: scores and
    measures against depth.

    Returns:
        The files.

    Raises:
        FileNotFoundError: `folder` holds no stored fields, no verdict, no runs of several depths.
    """
    files = []
    output = folder / "figures" / "paper"
    with mpl.rc_context(PAPER_STYLE):
        stages, verdict = read_stage_fields(folder), read_json(folder / "verdict.json")
        figures = run_figures(folder, stages) if stages else depth_figures(find_runs(folder))
        if verdict:
            figures = chain([("claims", _scale_to_paper(draw_claims(verdict)))], figures)
        for name, figure in figures:
            output.mkdir(parents=True, exist_ok=True)
            files += [_save_figure(figure, output / f"{name}.{kind}") for kind in ("pdf", "svg")]
    if not files:
        raise FileNotFoundError(
            f"{folder} holds no fields/, no verdict.json and no runs of several depths"
        )
    return files


def run_figures(folder: Path, stages: Sequence[StageFields]) -> Iterator[tuple[str, Figure]]:
    """Yield the figures of one run and their names.

    Args:
        folder: the run folder.
        stages: its fields.
    """
    for stage in stages:
        entry = f"{stage.name}/{stage.source}"
        fields = store.load_evolution(folder / "fields", entry, stage.units).field
        of = stage.reliability
        title = f"{stage.name}, epoch {stage.epochs[-1]}"
        at_end = of._replace(value=of.value[-1])
        unit_grid = grid.draw_field_grid(
            fields[-1], stage.units, title, stage.sigma, reliability=at_end
        )
        yield f"{stage.name}-grid", _scale_to_paper(unit_grid)
        last = len(stage.epochs) - 1
        columns = np.linspace(0, last, min(EVOLUTION_CHECKPOINTS, last + 1)).round().astype(int)
        strip = of._replace(value=of.value[columns, :EVOLUTION_UNITS])
        evolution = sheets.draw_evolution_sheet(
            fields[columns, :EVOLUTION_UNITS],
            stage.units[:EVOLUTION_UNITS],
            [f"epoch {stage.epochs[column]}" for column in columns],
            stage.name,
            stage.sigma,
            reliability=strip,
        )
        yield f"{stage.name}-evolution", _scale_to_paper(evolution)
        yield f"{stage.name}-profile", draw_radial_profiles(stage)
    yield "stages", draw_measures_over_training(stages)


def depth_figures(runs: Sequence[RunSummary]) -> Iterator[tuple[str, Figure]]:
    """Yield the figures against depth and their names; none for fewer than two depths."""
    depths = list_depths(runs)
    if len(depths) < 2:
        return
    yield "depth-scores", draw_scores_by_depth(runs, depths)
    for backbone in dict.fromkeys(run.backbone for run in runs):
        runs_of_backbone = [run for run in runs if run.backbone == backbone]
        if any(run.fields for run in runs_of_backbone):
            figure = draw_measures_by_depth(runs_of_backbone, depths)
            yield f"depth-fields-{Path(backbone).name}", figure


def draw_radial_profiles(stage: StageFields) -> Figure:
    """Draw radial profiles before and after training: medians over units and quartiles."""
    figure = Figure(figsize=(COLUMN_WIDTH, 2.1), layout="constrained")
    axis = figure.subplots()
    axis.axhline(0, color="0.6", linewidth=0.6)
    for colour, style, checkpoint in ((LINE_COLOURS[4], "--", 0), (LINE_COLOURS[0], "-", -1)):
        values = stage.profile[checkpoint]
        with np.errstate(invalid="ignore", divide="ignore"):
            scaled = values * np.sign(values[:, :1]) / np.abs(values).max(1, keepdims=True)
        alive = scaled[np.isfinite(scaled).all(1)]
        if len(alive):
            low, middle, high = np.percentile(alive, (25, 50, 75), axis=0)
            radius, label = stage.profile_radius, f"epoch {stage.epochs[checkpoint]}"
            axis.fill_between(radius, low, high, color=colour, alpha=0.25, linewidth=0)
            axis.plot(radius, middle, style, color=colour, label=label)
    axis.set(xlabel="distance from the centre (px)", ylabel="mean over the ring, its centre > 0")
    axis.set_title(f"{stage.name}: median and quartiles of {len(stage.units)} units")
    if axis.lines[1:]:
        axis.legend()
    return figure


def draw_measures_over_training(stages: Sequence[StageFields]) -> Figure:
    """Draw each measure's median over units with its interval through training.

    The dotted lines in the first panel are noise ceilings of the correlation as measured.
    """
    panels = {
        label: {stage.name: [i[:3] for i in stage.medians(measure)] for stage in stages}
        for measure, label in MEASURES.items()
        if measure in stages[0].measures
    }
    figure = _draw_panels(panels, stages[0].epochs, "epoch")
    for stage, colour in zip(stages, cycle(LINE_COLOURS), strict=False):
        if "correlation_ceiling" in stage.measures:
            ceiling = [finite_median(of) for of in stage.measures["correlation_ceiling"]]
            figure.axes[0].plot(stage.epochs, ceiling, ":", color=colour, linewidth=0.8)
    return figure


def draw_scores_by_depth(runs: Sequence[RunSummary], depths: Sequence[str]) -> Figure:
    """Draw each mean test score against depth, a line per backbone."""
    backbones = [*dict.fromkeys(run.backbone for run in runs)]
    panels = {
        entry.label: {b: [mean_score(runs, b, d, score) for d in depths] for b in backbones}
        for score, entry in SCORES.items()
        if any(score in run.scores for run in runs)
    }
    return _draw_panels(panels, range(len(depths)), "first stage that learns", depths)


def draw_measures_by_depth(runs: Sequence[RunSummary], depths: Sequence[str]) -> Figure:
    """Draw each measure's mean over runs against depth, a line per stage."""

    def mean(measure: str, stage: str, depth: str) -> tuple[float, float, float]:
        medians = [run.fields.get(measure, {}) for run in runs if run.depth == depth]
        return finite_mean([median.get(stage, np.nan) for median in medians]), np.nan, np.nan

    stages = [*dict.fromkeys(s for run in runs for m in MEASURES for s in run.fields.get(m, {}))]
    panels = {
        label: {stage: [mean(measure, stage, depth) for depth in depths] for stage in stages}
        for measure, label in MEASURES.items()
        if any(measure in run.fields for run in runs)
    }
    return _draw_panels(panels, range(len(depths)), "first stage that learns", depths)


def _draw_panels(
    panels: Mapping[str, Mapping[str, Sequence[tuple[float, ...]]]],
    x: Sequence[int],
    xlabel: str,
    ticks: Sequence[str] = (),
) -> Figure:
    """Draw lines with intervals in a row of panels as wide as a page.

    Args:
        panels: `{title: {name of a line: (value, low, high) at each x}}`; NaN for no interval.
        x: the positions.
        xlabel: label of the axis.
        ticks: labels of the positions, if they are not numbers.
    """
    figure = Figure(figsize=(PAGE_WIDTH, 2.1), layout="constrained")
    axes = figure.subplots(1, max(len(panels), 1), squeeze=False)[0]
    for axis, (title, lines) in zip(axes, panels.items(), strict=False):
        for (name, values), colour, marker in zip(
            lines.items(), cycle(LINE_COLOURS), cycle(LINE_MARKERS), strict=False
        ):
            y, low, high = np.array(values, dtype=np.float64).T
            intervals = np.nan_to_num([y - low, high - y]).clip(0)
            axis.errorbar(x, y, intervals, color=colour, marker=marker, elinewidth=0.6, label=name)
        axis.set(title=fill(title, 18), xlabel=xlabel)
        if ticks:
            axis.set_xticks(x, ticks, rotation=45)
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=len(names) or 1)
    return figure


def _scale_to_paper(figure: Figure) -> Figure:
    """Scale a figure and its text to the width of a column, or of a page where it is wider."""
    width, height = figure.get_size_inches()
    scale = (COLUMN_WIDTH if width < 1.2 * COLUMN_WIDTH else PAGE_WIDTH) / width
    figure.set_size_inches(scale * width, scale * height)
    for text in figure.findobj(Text):
        text.set_fontsize(scale * text.get_fontsize())
    return figure


def _save_figure(figure: Figure, file: Path) -> Path:
    kind = file.suffix[1:]
    undated = {"CreationDate": None} if kind == "pdf" else {"Date": None}
    with atomic.replace_file(file) as temporary:
        figure.savefig(temporary, format=kind, dpi=300, metadata=undated)
    return file
