"""Collect the verdict of the study in expected.csv and power.csv, and draw it in figure.png.

python experiments/surround/figure.py runs/studies/surround/claims [--to experiments/surround]

power.csv has what the rule of P3 finds in each network, planted and real.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deepsal.rf.claims.rules import CHANGED_SIMILARITY, UNCHANGED_SIMILARITY
from deepsal.runs.control_runs import TUNED
from deepsal.vocabulary import STAGES

CONTROL_LABELS = {
    "bn_only": "batch norm re-estimated, nothing trained",
    "displaced": "displaced at random as far as tuning",
    "weights_only": "tuned weights, batch norm as before",
    "shuffled_fixations": "trained on shuffled fixations",
    "other_task": "trained on another task (edges)",
    "untrained": "untrained",
}
COLOURS = ("#8d99ae", "#e09f3e", "#5fa55a", "#9e2a2b", "#7b5ea7", "#c9c9c9")
TUNED_COLOUR = "#1d3557"


def main() -> None:
    """Read a verdict, and write the tables and the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("run", type=Path, help="run folder with verdict.json")
    parser.add_argument("--to", type=Path, default=Path(__file__).parent, help="output folder")
    arguments = parser.parse_args()
    verdict = json.loads((arguments.run / "verdict.json").read_text(encoding="utf-8"))
    rows, power = verdict_table(verdict["rows"]), power_table(verdict["networks"])
    arguments.to.mkdir(parents=True, exist_ok=True)
    rows.to_csv(arguments.to / "expected.csv", index=False, float_format="%.4g")
    power.to_csv(arguments.to / "power.csv", index=False, float_format="%.4g")
    draw_verdict(rows, power).savefig(arguments.to / "figure.png")


def verdict_table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return the rows of a verdict as a table, one column per number."""
    numbers = ("reference_estimate", "p", "estimate", "low", "high")
    table = pd.DataFrame([{**row, **row["effect"]} for row in rows]).drop(columns="effect")
    return table.astype(dict.fromkeys(numbers, float))


def power_table(networks: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return what the rule finds at each stage of each network, and among planted fields there."""
    return pd.DataFrame(
        [
            {
                "network": of["network"],
                "stage": of["stage"],
                "background": of["background"],
                "reliability": of["reliability"],
                "pairs": of["pairs"],
                "spread": of["spread"],
                "found": of["found"]["mean"] if of["found"] else np.nan,
                **{f"power_{k}": power for k, power in of["rule"]["power"].items()},
                "false_alarms": max(of["rule"]["false_alarms"].values()),
            }
            for of in networks
            if of["rule"]
        ]
    )


def draw_verdict(verdict: pd.DataFrame, power: pd.DataFrame) -> Figure:
    """Draw the similarity to the fields before training, and the shares of P3 with their power."""
    figure = Figure(figsize=(11, 4.2), dpi=120, layout="constrained", facecolor="white")
    natural, grey, shares = figure.subplots(1, 3, width_ratios=[1.25, 1.25, 1])
    for axes, background in ((natural, "natural"), (grey, "grey")):
        _draw_similarity(axes, verdict[verdict["background"] == background])
        axes.set_title(f"noise on {'images' if background == 'natural' else 'grey'}", fontsize=9)
    natural.set_ylabel("fields: correlation with before training,\ncorrected for noise", fontsize=8)
    _draw_shares(shares, verdict, power)
    for axes in (natural, grey, shares):
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    handles, labels = natural.get_legend_handles_labels()
    handles += (more := shares.get_legend_handles_labels())[0][-2:]
    labels += more[1][-2:]
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return figure


def _draw_similarity(axes: Axes, rows: pd.DataFrame) -> None:
    tuned = rows[rows["measure"] == "similarity"].set_index("stage").reindex(STAGES)
    x = np.arange(len(STAGES))
    ends = np.abs(tuned[["low", "high"]].to_numpy() - tuned[["estimate"]].to_numpy()).T
    axes.errorbar(
        x, tuned["estimate"], ends, fmt="o-", ms=5, c=TUNED_COLOUR, capsize=2, label="tuned"
    )
    controls = rows[rows["measure"] == "more change than"]
    for number, (control, colour) in enumerate(zip(CONTROL_LABELS, COLOURS, strict=True)):
        of = controls[controls["reference"] == control].set_index("stage").reindex(STAGES)
        shift = 0.09 * (number - 2.5)
        label = CONTROL_LABELS[control]
        axes.plot(x + shift, of["reference_estimate"], "D", ms=4, c=colour, label=label)
    axes.hlines(UNCHANGED_SIMILARITY, -0.4, 2.4, color="0.6", ls=":", lw=1)
    axes.hlines(CHANGED_SIMILARITY, 2.6, 4.4, color="0.6", ls=":", lw=1)
    axes.text(-0.4, UNCHANGED_SIMILARITY - 0.02, "P1: above", fontsize=7, c="0.4", va="top")
    axes.text(4.4, CHANGED_SIMILARITY + 0.02, "P2: below", fontsize=7, c="0.4", ha="right")
    axes.axhline(0, color="0.85", lw=0.8, zorder=0)
    axes.set_xticks(x, STAGES)


def _draw_shares(axes: Axes, verdict: pd.DataFrame, power: pd.DataFrame) -> None:
    found = verdict[verdict["measure"] == "found"]
    of_tuned = power[power["network"].str.startswith(TUNED)]
    places = [*zip(found["stage"], found["background"], strict=True)]
    for x, (stage, background) in enumerate(places):
        here = of_tuned[(of_tuned["stage"] == stage) & (of_tuned["background"] == background)]
        axes.bar(
            x,
            here["power_0.55"].mean(),
            0.8,
            color="0.93",
            label="planted surrounds (k = .55) that are found" if not x else "",
        )
        row = found.iloc[x]
        ends = [[row["estimate"] - row["low"]], [row["high"] - row["estimate"]]]
        axes.errorbar(x, row["estimate"], ends, fmt="o", ms=5, c=TUNED_COLOUR, capsize=2)
        compared = verdict[
            (verdict["measure"] == "more than")
            & (verdict["stage"] == stage)
            & (verdict["background"] == background)
        ].set_index("reference")["reference_estimate"]
        for number, (control, colour) in enumerate(zip(CONTROL_LABELS, COLOURS, strict=True)):
            if control in compared:
                axes.plot(x + 0.1 * (number - 2.5), compared[control], "D", ms=4, c=colour)
        label = "before training" if not x else ""
        axes.hlines(compared["before"], x - 0.4, x + 0.4, color="black", lw=1, label=label)
    names = {"natural": "images", "grey": "grey"}
    axes.set_xticks(range(len(places)), [f"{stage}\n{names[b]}" for stage, b in places])
    axes.set_ylim(-0.03, 1.03)
    axes.set_title("units that the rule calls centre-surround (P3)", fontsize=9)


if __name__ == "__main__":
    main()
