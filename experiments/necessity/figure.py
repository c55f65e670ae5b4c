"""Draw the change of NSS when units with a surround and matched units are silenced.

python experiments/necessity/figure.py [--to experiments/necessity]

Draws figure.png from dose.csv and expected.csv, which measure.py writes into the same folder.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deepsal.report.figures.intervals import error_bars

CRITERIA = {"field": "strongest centre-surround field", "size": "strongest size suppression"}
LABELS = {
    "none": "decoder alone",
    "all": "all stages",
    "shuffled_fixations": "shuffled fixations",
    "other_task": "edges",
}
"""Trainings, by depth or control."""


def main() -> None:
    """Draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "--to", type=Path, default=Path(__file__).parent, help="folder of tables and figure"
    )
    folder = parser.parse_args().to
    tables = (pd.read_csv(folder / f"{name}.csv") for name in ("dose", "expected"))
    draw_doses(*tables).savefig(folder / "figure.png")


def draw_doses(dose: pd.DataFrame, expected: pd.DataFrame) -> Figure:
    """Draw NSS against the number of silenced units, and the difference in each training.

    Args:
        dose: a row per number of units; the curves are of the first training.
        expected: the mean over the numbers.
    """
    criteria, stages = (pd.unique(expected[key]).tolist() for key in ("criterion", "stage"))
    size = (3.4 * (len(stages) + 1), 2.7 * len(criteria))
    figure = Figure(figsize=size, dpi=120, layout="constrained", facecolor="white")
    axes = figure.subplots(len(criteria), len(stages) + 1, squeeze=False)
    for row, criterion in zip(axes, criteria, strict=True):
        of_criterion = dose[dose["criterion"] == criterion]
        for axis, stage in zip(row, stages, strict=False):
            draw_curves(axis, of_criterion[of_criterion["stage"] == stage], criterion)
        draw_trainings(row[-1], expected[expected["criterion"] == criterion])
        row[0].set_ylabel("change of NSS", fontsize=8)
        row[0].legend(fontsize=8, frameon=False, loc="lower left")
    ends = np.array([axis.get_xlim() for axis in axes[:, -1]])
    for axis in axes[:, -1]:  # one scale, to compare the criteria
        axis.set_xlim(ends[:, 0].min(), ends[:, 1].max())
    for axis in axes.ravel():
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    return figure


def draw_curves(axis: Axes, of: pd.DataFrame, criterion: str) -> None:
    """Draw the changes of the first training against the number of silenced units."""
    training = of["training"].iloc[0]
    of = of[of["training"] == training]
    for name, label, colour, shift in (
        ("surround", CRITERIA[criterion], "#9e2a2b", 0.96),
        ("matched", "matched units", "#33658a", 1.04),
    ):
        x, ends = of["units"] * shift, error_bars(of, name)
        axis.errorbar(x, of[name], ends, fmt="o-", ms=4, c=colour, label=label)
    axis.set_xscale("log", base=2)
    axis.set_xticks(of["units"], [str(k) for k in of["units"]])
    axis.axhline(0, color="0.8", lw=0.8, zorder=0)
    axis.set_title(f"{of['stage'].iloc[0]}, {LABELS.get(training, training)} tuned", fontsize=9)
    axis.set_xlabel("silenced units", fontsize=8)


def draw_trainings(axis: Axes, of: pd.DataFrame) -> None:
    """Draw the difference to matched units in each training and stage."""
    trainings = pd.unique(of["training"]).tolist()
    for (stage, rows), marker in zip(of.groupby("stage"), "os", strict=False):
        ends = error_bars(rows, "difference")
        place = np.array([trainings.index(name) for name in rows["training"]])
        place = place + (0.1 if marker == "s" else -0.1)
        style: Any = {"fmt": marker, "ms": 4, "capsize": 2, "label": stage}
        axis.errorbar(rows["difference"], place, xerr=ends, **style)
    axis.axvline(0, color="0.8", lw=0.8, zorder=0)
    axis.set_yticks(range(len(trainings)), [LABELS.get(name, name) for name in trainings])
    axis.set_ylim(len(trainings) - 0.5, -0.5)
    axis.set_title("difference to matched units, NSS", fontsize=9)
    axis.legend(fontsize=8, frameon=False)


if __name__ == "__main__":
    main()
