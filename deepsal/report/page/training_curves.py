"""Charts of the logged losses and scores through training, from `metrics.csv`."""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepsal.report.page.chart import DataLine, LineChart, line_chart
from deepsal.report.run_folders import read_metrics_csv
from deepsal.vocabulary import SCORES

CURVE_TITLES = {"loss": "loss"} | {score: entry.label for score, entry in SCORES.items()}
"""Logged numbers with a chart, and their titles."""
MAX_POINTS = 200
"""Largest number of points of a line; more points are averaged in groups."""


def steps_per_epoch(table: pd.DataFrame) -> float:
    """Return the number of steps per epoch, from the validations; NaN before the first one."""
    columns = [column for column in table.columns if column.startswith("val/")]
    if not columns:
        return float("nan")
    rows = table.dropna(subset=columns, how="all")
    return float(((rows["step"] + 1) / (rows["epoch"] + 1)).median()) if len(rows) else float("nan")


def training_charts(folder: Path) -> list[LineChart]:
    """Return a chart of the loss and one of each score: training and validation over epochs."""
    table = read_metrics_csv(folder)
    per_epoch = steps_per_epoch(table)
    if not np.isfinite(per_epoch):
        return []
    charts = []
    for score, name in CURVE_TITLES.items():
        lines = []
        for split in ("train", "val"):
            if (column := f"{split}/{score}") in table:
                rows = table.dropna(subset=[column])
                x, y = ((rows["step"] + 1) / per_epoch).to_numpy(), rows[column].to_numpy()
                lines.append(DataLine(split, *_average_groups(x, y)))
        lines = [line for line in lines if len(line.x)]
        if lines and (chart := line_chart(name, "epoch", lines)):
            charts.append(chart)
    return charts


def _average_groups(
    x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[list[float], list[float]]:
    group = -(-len(x) // MAX_POINTS) if len(x) else 1
    pieces = range(0, len(x), group)
    return (
        [float(x[i : i + group].mean()) for i in pieces],
        [float(y[i : i + group].mean()) for i in pieces],
    )


def logged_at_steps(folder: Path, column: str, steps: list[int]) -> list[float]:
    """Return the values logged under a key at some steps; NaN at a step without one."""
    table = read_metrics_csv(folder)
    if column not in table:
        return [float("nan")] * len(steps)
    rows = table.dropna(subset=[column]).drop_duplicates("step", keep="last").set_index("step")
    return [float(value) for value in rows[column].reindex(steps)]
