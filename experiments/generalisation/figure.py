"""Compare scores on the data of the training and on another set, in expected.csv and figure.png.

python experiments/generalisation/figure.py runs/studies/generalisation [--to FOLDER]

Scores on the data of the training are those of the run folders whose checkpoints were tested.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import yaml
from matplotlib.figure import Figure
from numpy.typing import NDArray

from deepsal.report.run_folders import depth_order
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
    table = generalisation_table(
        {score: read_scores(arguments.runs, score) for score in COMPARED_SCORES}
    )
    print(table.round(3).to_string(index=False))
    table.to_csv(arguments.to / "expected.csv", index=False, float_format="%.4g")
    draw_differences(table).savefig(arguments.to / "figure.png")


def read_scores(folder: Path, score: str) -> dict[str, ScoredDepth]:
    """Return the scores of each depth, from `none` to `all`; images are in the same order.

    Raises:
        FileNotFoundError: no finished job, or a depth lacks a seed that another has.
    """
    tables: dict[str, dict[int, tuple[FloatArray, FloatArray]]] = {}
    for job in sorted(file.parent for file in folder.glob("*/done")):
        config = yaml.safe_load((job / "config.yaml").read_text(encoding="utf-8"))
        training = Path(config["ckpt"]).parents[1]
        pair = tuple(
            pd.read_csv(of / "scores.csv").sort_values("name")[score].to_numpy()
            for of in (training, job)
        )
        tables.setdefault(config["finetune"]["name"], {})[config["seed"]] = (pair[0], pair[1])
    if not tables:
        raise FileNotFoundError(f"{folder} holds no finished job; run the study first")
    seeds = sorted(set().union(*tables.values()))
    for depth, of in tables.items():
        if missing := [seed for seed in seeds if seed not in of]:
            raise FileNotFoundError(f"{folder} has no finished job of {depth}, seed {missing[0]}")
    return {
        depth: ScoredDepth(*(np.stack([tables[depth][s][part] for s in seeds]) for part in (0, 1)))
        for depth in sorted(tables, key=depth_order)
    }


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
                    row |= named_ends("mean", crossed_bootstrap(getattr(of, kind), np.nanmean))
                for other in REFERENCES:
                    if other != depth:
                        estimate = compare_depths(of, depths[other], kind)
                        row |= named_ends(f"minus_{other}", estimate)
                        row[f"minus_{other}_p"] = estimate.p
                rows.append(row)
    table = pd.DataFrame(rows)
    for other in REFERENCES:
        p = table.groupby(["score", "set"])[f"minus_{other}_p"]
        table[f"minus_{other}_p"] = p.transform(lambda of: holm_correction(of.to_numpy()))
    return table


def compare_depths(one: ScoredDepth, two: ScoredDepth, kind: str) -> CrossedEstimate:
    """Return the mean difference of two depths on a set, or how much more it is on the other.

    Images of the two sets are independent, and seeds are common to them: the difference of each
    seed on the own set is subtracted from its differences on the other, and the error over the
    images of the own set is added.

    Args:
        one: scores of one depth.
        two: of the other, of the same seeds and images.
        kind: of `SETS`.
    """
    own, other = one.own - two.own, one.other - two.other
    if kind != "transfer":
        return crossed_bootstrap(own if kind == "own" else other, np.nanmean)
    error = np.nanstd(own.mean(0), ddof=1) / np.sqrt(own.shape[1])
    return crossed_bootstrap(
        other - np.nanmean(own, 1, keepdims=True), np.nanmean, extra_error=float(error)
    )


def named_ends(name: str, estimate: CrossedEstimate) -> dict[str, float]:
    """Return an estimate and the ends of its interval as columns of a table."""
    of = estimate.interval
    return {name: of.estimate, f"{name}_low": of.low, f"{name}_high": of.high}


def draw_differences(table: pd.DataFrame) -> Figure:
    """Draw the difference to training the decoder alone, on both sets, a panel per score."""
    figure = Figure(figsize=(9, 3), dpi=120, layout="constrained", facecolor="white")
    axes = figure.subplots(1, len(COMPARED_SCORES))
    depths = [depth for depth in dict.fromkeys(table["depth"]) if depth != "none"]
    for axis, score in zip(axes, COMPARED_SCORES, strict=True):
        for kind, shift in (("own", -0.08), ("other", 0.08)):
            of = table[(table["score"] == score) & (table["set"] == kind)]
            of = of[of["depth"] != "none"]
            ends = of[["minus_none_low", "minus_none_high"]].to_numpy()
            axis.errorbar(
                np.arange(len(depths)) + shift,
                of["minus_none"],
                np.abs(ends - of[["minus_none"]].to_numpy()).T,
                fmt="o",
                ms=5,
                capsize=2,
                c=COLOURS[kind],
                label=SETS[kind],
            )
        axis.axhline(0, color="0.8", lw=0.8, zorder=0)
        direction = "less is better" if score == "kl" else "more is better"
        axis.set_title(f"{SCORES[score].label}: difference to none ({direction})", fontsize=9)
        axis.set_xticks(range(len(depths)), depths)
        axis.set_xlim(-0.5, len(depths) - 0.5)
        axis.set_xlabel("first stage that learns", fontsize=8)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    return figure


if __name__ == "__main__":
    main()
