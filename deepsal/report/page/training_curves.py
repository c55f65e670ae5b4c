"""What a run logged: losses and scores through training, out of metrics.csv."""

from pathlib import Path

import numpy as np
import pandas as pd

from deepsal.report.page.chart import DataLine, LineChart, line_chart
from deepsal.report.run_folders import read_metrics_csv

CURVE_TITLES = {"loss": "loss", "nss": "NSS", "cc": "CC", "kl": "KL", "sim": "SIM", "auc": "AUC"}
MAX_POINTS = 200
"""Points of a line; more are averaged in groups."""


def steps_per_epoch(table: pd.DataFrame) -> float:
    """Return how many steps an epoch took, by the validations' rows; NaN before the first."""
    columns = [column for column in table.columns if column.startswith("val/")]
    if not columns:
        return float("nan")
    rows = table.dropna(subset=columns, how="all")
    return float(((rows["step"] + 1) / (rows["epoch"] + 1)).median()) if len(rows) else float("nan")


def training_charts(folder: Path) -> list[LineChart]:
    """Return a chart for the loss and for each score, of training and validation over epochs."""
    table = read_metrics_csv(folder)
    per_epoch = steps_per_epoch(table)
    if not np.isfinite(per_epoch):
        return []
    charts = []
    for score, name in CURVE_TITLES.items():
        lines = []
        for split in ("train", "val"):
            if (column := f"{split}/{score}") in table:
                known = table.dropna(subset=[column])
                x, y = ((known["step"] + 1) / per_epoch).to_numpy(), known[column].to_numpy()
                lines.append(DataLine(split, *_average_groups(x, y)))
        lines = [line for line in lines if len(line.x)]
        if lines and (made := line_chart(name, "epoch", lines)):
            charts.append(made)
    return charts


def _average_groups(x: "np.ndarray", y: "np.ndarray") -> tuple[list[float], list[float]]:
    group = -(-len(x) // MAX_POINTS) if len(x) else 1
    pieces = range(0, len(x), group)
    return (
        [float(x[i : i + group].mean()) for i in pieces],
        [float(y[i : i + group].mean()) for i in pieces],
    )


def logged_at_steps(folder: Path, column: str, steps: list[int]) -> list[float]:
    """Return what was logged under a key at given steps, NaN where nothing was."""
    table = read_metrics_csv(folder)
    if column not in table:
        return [float("nan")] * len(steps)
    known = table.dropna(subset=[column]).drop_duplicates("step", keep="last").set_index("step")
    return [float(value) for value in known[column].reindex(steps)]
