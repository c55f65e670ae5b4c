"""Draw which units follow which regions of images, before and after training.

python experiments/regions/figure.py [--to experiments/regions]

Draws figure.png from networks.csv and expected.csv, which measure.py writes into the same folder.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deepsal.models import STAGES
from deepsal.report.figures.claims import CONTROL_STYLES, TUNED_COLOUR

NETWORKS = {
    "before": ("before training", "black"),
    "random": CONTROL_STYLES["untrained"],
    "shuffled_fixations": CONTROL_STYLES["shuffled_fixations"],
    "other_task": CONTROL_STYLES["other_task"],
    "tuned": ("trained on fixations", TUNED_COLOUR),
}
GAIN_COLOURS = ("#e09f3e", "#2a9d8f", "0.45")


def main() -> None:
    """Draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "--to", type=Path, default=Path(__file__).parent, help="folder of tables and figure"
    )
    folder = parser.parse_args().to
    tables = [pd.read_csv(folder / f"{name}.csv") for name in ("networks", "expected")]
    draw_regions(*tables).savefig(folder / "figure.png")


def draw_regions(networks: pd.DataFrame, expected: pd.DataFrame) -> Figure:
    """Draw responses at regions, shares of units that prefer them, and gains, by stage."""
    figure = Figure(figsize=(7.2, 5.2), dpi=200, layout="constrained", facecolor="white")
    grid = figure.subplots(2, 3)
    labels = [*networks.loc[networks["measure"] == "prefers", "place"].unique()][:2]
    places = [*labels, "elsewhere"]
    top = networks[(networks["measure"] == "top") & networks["place"].isin(places)]
    prefers = networks[networks["measure"] == "prefers"]
    for axis, place in zip(grid[0], places, strict=False):
        draw_networks(axis, top, place)
        axis.set_ylim(min(-0.1, top["low"].min()), 1.05 * top["high"].max())
        axis.set_title(f"fixations in: {place}", fontsize=8)
    for axis, label in zip(grid[1], labels, strict=False):
        draw_networks(axis, prefers, label)
        axis.set_title(f"units that prefer: {label}", fontsize=8)
        axis.set_ylim(-0.02, 1.05 * max(0.2, prefers["high"].max()))
    last = grid[1, 2]
    gains = expected[(expected["measure"] == "top") & (expected["minus"] == "before")]
    for shift, (place, colour) in enumerate(zip(places, GAIN_COLOURS, strict=False)):
        draw_points(last, gains[gains["place"] == place], "difference", shift - 1, colour, place)
    last.set_title("gain by training on fixations", fontsize=8)
    last.legend(fontsize=6.5, frameon=False, loc="upper left")
    grid[0, 0].set_ylabel("NSS of the 10 best units", fontsize=8)
    grid[1, 0].set_ylabel("share of units", fontsize=8)
    last.set_ylabel("change of NSS", fontsize=8)
    handles, names = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3, fontsize=7, frameon=False)
    for axis in grid.flat:
        axis.set_xticks(range(len(STAGES)), STAGES)
        axis.tick_params(labelsize=7)
        axis.axhline(0, color="0.85", lw=0.8, zorder=0)
        axis.spines[["top", "right"]].set_visible(False)
    return figure


def draw_networks(axis: Axes, table: pd.DataFrame, place: str) -> None:
    """Draw the rows of one measure at one place, a colour per kind of network."""
    for shift, (kind, (label, colour)) in enumerate(NETWORKS.items()):
        rows = table[(table["place"] == place) & (table["network"] == kind)]
        draw_points(axis, rows, "value", shift - 2, colour, label)


def draw_points(
    axis: Axes, rows: pd.DataFrame, value: str, shift: int, colour: str, label: str
) -> None:
    """Draw a column of a table with its intervals, a row per stage, beside others."""
    middle = rows[value].to_numpy()
    ends = np.abs(rows[["low", "high"]].to_numpy() - middle[:, None]).T
    at = [STAGES.index(stage) + 0.14 * shift for stage in rows["stage"]]
    axis.errorbar(at, middle, ends, fmt="o", ms=3, lw=1, c=colour, label=label)


if __name__ == "__main__":
    main()
