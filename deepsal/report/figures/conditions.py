"""Figure of a study: scores of each condition with intervals, and the change of its fields."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from deepsal.report.score_text import direction_arrow
from deepsal.report.tables.conditions import COMPARED_SCORES
from deepsal.rf.measures.reliability import MIN_RELIABILITY
from deepsal.vocabulary import SCORES, STAGES

COLOUR = "#33658a"


def draw_conditions(
    table: pd.DataFrame,
    conditions: Sequence[str],
    scores: Sequence[str] = COMPARED_SCORES,
    measure: str = "correlation",
    measure_label: str = "similarity of fields to before training",
    reference: str | None = None,
) -> Figure:
    """Draw a panel per score, a row per condition, and the fields of each stage as a heat map.

    A stage whose fields have a reliability below .3 has no value.

    Args:
        table: of `condition_table`.
        conditions: rows, from top to bottom.
        scores: panels.
        measure: of fields, drawn by stage; left out where the table has no such rows.
        measure_label: title of its panel.
        reference: the condition of the table's differences, which are drawn; None: means are drawn.
    """
    stages = [stage for stage in STAGES if f"{measure}/{stage}" in set(table["measure"])]
    height = 1.1 + 0.3 * len(conditions)
    figure = Figure(figsize=(9.5, height), dpi=120, layout="constrained", facecolor="white")
    widths = [1.0] * len(scores) + ([1.5] if stages else [])
    axes = figure.subplots(1, len(widths), width_ratios=widths, sharey=True, squeeze=False)[0]
    for axis, score in zip(axes, scores, strict=False):
        of = _rows(table, score, conditions)
        if reference is None:
            _draw_intervals(axis, of[["mean", "low", "high"]].to_numpy())
        else:
            _draw_intervals(axis, of.filter(like="difference").to_numpy())
            axis.axvline(0, color="0.6", lw=0.8, zorder=0)
        minus = "" if reference is None else f", minus that of the {reference}"
        axis.set_title(f"{SCORES[score].label} {direction_arrow(score)}{minus}", fontsize=9)
    if stages:
        values = [_reliable_means(table, measure, stage, conditions) for stage in stages]
        axes[-1].imshow(np.array(values).T, cmap="cividis", vmin=0, vmax=1, aspect="auto")
        for (column, row), value in np.ndenumerate(np.array(values)):
            colour = "black" if value > 0.6 else "white" if np.isfinite(value) else "0.4"
            text = f"{value:.2f}" if np.isfinite(value) else "–"
            axes[-1].text(column, row, text, ha="center", va="center", size=8, color=colour)
        axes[-1].set_xticks(range(len(stages)), stages, fontsize=8)
        axes[-1].set_title(measure_label, fontsize=9)
        axes[-1].tick_params(left=False)
    axes[0].set_yticks(range(len(conditions)), conditions, fontsize=9)
    axes[0].set_ylim(len(conditions) - 0.5, -0.5)
    return figure


def _rows(table: pd.DataFrame, measure: str, conditions: Sequence[str]) -> pd.DataFrame:
    return table[table["measure"] == measure].set_index("condition").reindex([*conditions])


def _reliable_means(
    table: pd.DataFrame, measure: str, stage: str, conditions: Sequence[str]
) -> NDArray[np.float64]:
    means, reliability = (
        _rows(table, f"{name}/{stage}", conditions)["mean"].to_numpy(dtype=np.float64)
        for name in (measure, "reliability")
    )
    return np.where(reliability < MIN_RELIABILITY, np.nan, means)


def _draw_intervals(axis: Axes, ends: NDArray[np.float64]) -> None:
    """Draw estimates with their lower and upper ends, (rows, 3), from top to bottom."""
    estimate, widths = ends[:, 0], np.abs(ends[:, 1:] - ends[:, :1]).T
    place = np.arange(len(ends))
    axis.errorbar(estimate, place, xerr=widths, fmt="o", ms=4, capsize=2, lw=1, c=COLOUR)
    axis.tick_params(labelsize=8)
    axis.grid(axis="x", color="0.92", lw=0.8)
    axis.set_axisbelow(True)
    axis.spines[["top", "right", "left"]].set_visible(False)
