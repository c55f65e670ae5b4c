"""Compare scores on the data of the training and on another set, in expected.csv and figure.png.

python experiments/generalisation/figure.py runs/studies/generalisation [--to FOLDER]

trend.csv has the change along a line through all depths. Scores on the data of the training are
those of the run folders whose checkpoints were tested.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import yaml
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from deepsal.report.figures.intervals import error_bars
from deepsal.report.run_folders import depth_order
from deepsal.runs.run_records import read_json
from deepsal.statistics import CrossedEstimate, crossed_bootstrap, holm_correction
from deepsal.vocabulary import SCORES

FloatArray = NDArray[np.float64]
COMPARED_SCORES = ("nss", "cc", "kl")
SETS = {"own": "data of the training", "other": "other data set", "transfer": "other − own"}
REFERENCES = ("none", "all")
COLOURS = {"own": "#33658a", "other": "#e09f3e"}


class ScoredDepth(NamedTuple):
    """Scores of the trainings of one depth, of S seeds and N or M images."""

    own: FloatArray
    """(S, N), on the data of the training."""
    other: FloatArray
    """(S, M), on the other data set."""


def main() -> None:
    """Collect the table, draw the figure and write both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("runs", type=Path, help="folder of the study, with its run folders")
    parser.add_argument("--to", type=Path, default=Path(__file__).parent, help="output folder")
    arguments = parser.parse_args()
    scores = {score: read_scores(arguments.runs, score) for score in COMPARED_SCORES}
    tables = {
        direction: generalisation_table({score: of[direction] for score, of in scores.items()})
        for direction in scores["nss"]
    }
    table = pd.concat(tables, names=["direction"]).reset_index(0)
    print(table.round(3).to_string(index=False))
    table.to_csv(arguments.to / "expected.csv", index=False, float_format="%.4g")
    draw_differences(table).savefig(arguments.to / "figure.png")
    trends = trend_table(scores)
    print(trends.round(3).to_string(index=False))
    trends.to_csv(arguments.to / "trend.csv", index=False, float_format="%.4g")


def read_scores(folder: Path, score: str) -> dict[str, dict[str, ScoredDepth]]:
    """Return the scores of each direction (such as `OSIE to NUS scenes`) and depth.

    Depths are from `none` to `all`; images are in the same order.

    Raises:
        FileNotFoundError: no finished job, or a depth lacks a seed that another has.
    """
    directions: dict[str, dict[str, dict[int, tuple[FloatArray, FloatArray]]]] = {}
    for job in sorted(file.parent for file in folder.glob("*/done")):
        config = yaml.safe_load((job / "config.yaml").read_text(encoding="utf-8"))
        training = Path(config["ckpt"]).parents[1]
        pair = tuple(
            pd.read_csv(of / "scores.csv").sort_values("name")[score].to_numpy()
            for of in (training, job)
        )
        summary = read_json(job / "scores.json")
        direction = f"{summary['trained_on']} to {summary['dataset']}"
        depths = directions.setdefault(direction, {})
        depths.setdefault(config["finetune"]["name"], {})[config["seed"]] = (pair[0], pair[1])
    if not directions:
        raise FileNotFoundError(f"{folder} holds no finished job; run the study first")
    for depths in directions.values():
        seeds = sorted(set().union(*depths.values()))
        for depth, of in depths.items():
            if missing := [seed for seed in seeds if seed not in of]:
                reason = f"has no finished job of {depth}, seed {missing[0]}"
                raise FileNotFoundError(f"{folder} {reason}")
    return {
        direction: {depth: stack_seeds(depths[depth]) for depth in sorted(depths, key=depth_order)}
        for direction, depths in directions.items()
    }


def stack_seeds(of: Mapping[int, tuple[FloatArray, FloatArray]]) -> ScoredDepth:
    """Return the scores of all seeds, in the order of the seeds."""
    return ScoredDepth(*(np.stack([of[seed][part] for seed in sorted(of)]) for part in (0, 1)))


def generalisation_table(scores: Mapping[str, Mapping[str, ScoredDepth]]) -> pd.DataFrame:
    """Return mean scores and differences to the depths `none` and `all`, with intervals.

    Rows of `transfer` have the difference on the other set minus that on the own one. It is
    negative in NSS and CC, and positive in KL, where a depth generalises worse than the one it is
    compared with. Intervals are over seeds and images; p is adjusted over depths by Holm's method.

    Args:
        scores: `{score: {depth: scores}}`.
    """
    rows = []
    for score, depths in scores.items():
        for depth, of in depths.items():
            for kind in SETS:
                row: dict[str, object] = {"score": score, "depth": depth, "set": kind}
                if kind != "transfer":
                    mean = crossed_bootstrap(getattr(of, kind), np.nanmean).interval
                    row |= mean.as_columns("mean")
                for other in REFERENCES:
                    if other != depth:
                        estimate = depth_contrast([of, depths[other]], [1, -1], kind)
                        row |= estimate.interval.as_columns(f"minus_{other}")
                        row[f"minus_{other}_p"] = estimate.p
                rows.append(row)
    table = pd.DataFrame(rows)
    for other in REFERENCES:
        p = table.groupby(["score", "set"])[f"minus_{other}_p"]
        table[f"minus_{other}_p"] = p.transform(lambda of: holm_correction(of.to_numpy()))
    return table


def trend_table(scores: Mapping[str, Mapping[str, Mapping[str, ScoredDepth]]]) -> pd.DataFrame:
    """Return the change from the first to the last depth on the line through all, with intervals.

    All depths count, so a steady change is found more surely than by the difference of two of them.
    p is adjusted by Holm's method over the directions and scores of each set.

    Args:
        scores: `{score: {direction: {depth: scores}}}`, depths from `none` to `all`.
    """
    rows = []
    for score, directions in scores.items():
        for direction, depths in directions.items():
            place = np.arange(len(depths)) - (len(depths) - 1) / 2
            weights = place * (len(depths) - 1) / np.square(place).sum()
            for kind in SETS:
                estimate = depth_contrast([*depths.values()], weights, kind)
                row = {"direction": direction, "score": score, "set": kind}
                rows.append({**row, **estimate.interval.as_columns("change"), "p": estimate.p})
    table = pd.DataFrame(rows)
    table["p"] = table.groupby("set")["p"].transform(lambda of: holm_correction(of.to_numpy()))
    return table


def depth_contrast(
    depths: Sequence[ScoredDepth], weights: Sequence[float] | FloatArray, kind: str
) -> CrossedEstimate:
    """Return a weighted sum over depths on a set, or how much more it is on the other set.

    Images of the two sets are independent, and seeds are common to them: the sum of each seed on
    the own set is subtracted from its sums on the other, and the error over the images of the own
    set is added.

    Args:
        depths: scores of the same seeds and images.
        weights: one per depth; their sum is 0.
        kind: of `SETS`.
    """
    own, other = (
        np.tensordot(weights, np.stack([getattr(of, name) for of in depths]), 1)
        for name in ("own", "other")
    )
    if kind != "transfer":
        return crossed_bootstrap(own if kind == "own" else other, np.nanmean)
    error = np.nanstd(own.mean(0), ddof=1) / np.sqrt(own.shape[1])
    return crossed_bootstrap(
        other - np.nanmean(own, 1, keepdims=True), np.nanmean, extra_error=float(error)
    )


def draw_differences(table: pd.DataFrame) -> Figure:
    """Draw the difference to the decoder alone on both sets, a row per direction."""
    directions = [*dict.fromkeys(table["direction"])]
    size = (9, 0.6 + 2.3 * len(directions))
    figure = Figure(figsize=size, dpi=120, layout="constrained", facecolor="white")
    axes = figure.subplots(len(directions), len(COMPARED_SCORES), squeeze=False, sharey="col")
    for row, direction in zip(axes, directions, strict=True):
        for axis, score in zip(row, COMPARED_SCORES, strict=True):
            of = table[(table["direction"] == direction) & (table["score"] == score)]
            draw_panel(axis, of[of["depth"] != "none"])
            better = "less is better" if score == "kl" else "more is better"
            if axis in axes[0]:
                axis.set_title(f"{SCORES[score].label}: difference to none ({better})", fontsize=9)
            if axis in axes[-1]:
                axis.set_xlabel("first stage that learns", fontsize=8)
        row[0].set_ylabel(direction, fontsize=9)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    return figure


def draw_panel(axis: Axes, of: pd.DataFrame) -> None:
    """Draw the differences of each depth on both sets with their intervals."""
    depths = [*dict.fromkeys(of["depth"])]
    for kind, shift in (("own", -0.08), ("other", 0.08)):
        rows = of[of["set"] == kind]
        axis.errorbar(
            np.arange(len(depths)) + shift,
            rows["minus_none"],
            error_bars(rows, "minus_none"),
            fmt="o",
            ms=5,
            capsize=2,
            c=COLOURS[kind],
            label=SETS[kind],
        )
    axis.axhline(0, color="0.8", lw=0.8, zorder=0)
    axis.set_xticks(range(len(depths)), depths)
    axis.set_xlim(-0.5, len(depths) - 0.5)
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
