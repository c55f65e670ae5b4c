"""Compare sizes and fits of the network's image, in expected.csv and figure.png.

python experiments/resolution_and_aspect/figure.py runs/studies/resolution_and_aspect [--to FOLDER]

A condition is a size and a fit. Those of a data set are compared with its first: the smallest size,
squeezed. Images are grouped by their stored shape.
"""

import argparse
import json
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import yaml
from matplotlib.figure import Figure

from deepsal.report.figures.intervals import error_bars
from deepsal.runs.targets import build_part
from deepsal.statistics import crossed_bootstrap, t_interval
from deepsal.vocabulary import FITS, SCORES

COMPARED_SCORES = ("nss", "cc", "kl")
COLOURS = {"all": "#33658a", "landscape or square": "#e09f3e", "portrait": "#9e2a2b"}


class Job(NamedTuple):
    """A finished training: its condition, seed, scores by image and wall time in seconds."""

    data: str
    size: tuple[int, int]
    fit: str
    seed: int
    scores: pd.DataFrame
    shapes: dict[str, str]
    seconds: float

    @property
    def condition(self) -> tuple[int, int, str]:
        """Height, width and fit."""
        return (*self.size, self.fit)


def main() -> None:
    """Collect the table, draw the figure and write both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("runs", type=Path, help="folder of the study, with its run folders")
    parser.add_argument("--to", type=Path, default=Path(__file__).parent, help="output folder")
    arguments = parser.parse_args()
    table = compare_conditions(read_jobs(arguments.runs))
    print(table.round(3).to_string(index=False))
    arguments.to.mkdir(parents=True, exist_ok=True)
    table.to_csv(arguments.to / "expected.csv", index=False, float_format="%.4g")
    draw_conditions(table).savefig(arguments.to / "figure.png")


def read_jobs(folder: Path) -> list[Job]:
    """Return the finished jobs of a study.

    Raises:
        FileNotFoundError: there is none.
    """
    jobs = []
    for done in sorted(folder.glob("*/done")):
        run = done.parent
        config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
        origin = json.loads((run / "origin.json").read_text(encoding="utf-8"))
        seconds = done.stat().st_mtime - datetime.fromisoformat(origin["started"]).timestamp()
        data, size = config["data"], tuple(config["data"]["size"])
        scores = pd.read_csv(run / "scores.csv").set_index("name").sort_index()
        shapes = image_shapes(data["dataset"])
        jobs.append(Job(data["name"], size, data["fit"], config["seed"], scores, shapes, seconds))
    if not jobs:
        raise FileNotFoundError(f"{folder} holds no finished job; run the study first")
    return jobs


def image_shapes(options: dict[str, Any]) -> dict[str, str]:
    """Return the shape of each image of a data set by name, from its options in a configuration."""
    dataset = build_part(options, "data.dataset")
    portrait = {stimulus.name: stimulus.size[0] > stimulus.size[1] for stimulus in dataset.stimuli}
    return {name: "portrait" if p else "landscape or square" for name, p in portrait.items()}


def compare_conditions(jobs: list[Job]) -> pd.DataFrame:
    """Return mean scores of each condition and its differences to the first of its data set.

    Means have an interval over seeds (Student's t), differences one over seeds and images (paired,
    drawn anew). Rows of all images have the median wall time of a job.

    Raises:
        FileNotFoundError: a condition lacks a seed that the first has.
    """
    rows = []
    for data in dict.fromkeys(job.data for job in jobs):
        groups: dict[tuple[int, int, str], dict[int, Job]] = {}
        for job in (job for job in jobs if job.data == data):
            groups.setdefault(job.condition, {})[job.seed] = job
        ordered = sorted(groups, key=lambda c: (c[0] * c[1], FITS.index(c[2])))
        reference = groups[ordered[0]]
        for condition in ordered:
            of = groups[condition]
            if missing := sorted({*reference} ^ {*of}):
                raise FileNotFoundError(
                    f"{data} {condition}: no finished pair of seed {missing[0]}"
                )
            seconds = float(np.median([job.seconds for job in of.values()]))
            rows += condition_rows(of, reference, seconds)
    return pd.DataFrame(rows)


def condition_rows(
    jobs: dict[int, Job], reference: dict[int, Job], seconds: float
) -> list[dict[str, object]]:
    """Return a row per shape and score of one condition; one row for all if the shape is one."""
    first = next(iter(jobs.values()))
    shapes = first.scores.index.map(first.shapes)
    kinds = ["all", *sorted(set(shapes))] if len(set(shapes)) > 1 else ["all"]
    rows: list[dict[str, object]] = []
    for kind in kinds:
        chosen = np.array([kind in ("all", shape) for shape in shapes])
        for score in COMPARED_SCORES:
            one, two = (
                np.stack([of[seed].scores[score].to_numpy()[chosen] for seed in sorted(jobs)])
                for of in (jobs, reference)
            )
            difference = crossed_bootstrap(one - two, np.nanmean)
            rows.append(
                {
                    "data": first.data,
                    "height": first.size[0],
                    "width": first.size[1],
                    "fit": first.fit,
                    "shape": kind,
                    "score": score,
                    "seeds": len(one),
                    "images": int(chosen.sum()),
                    **t_interval(np.nanmean(one, 1).tolist()).as_columns("mean"),
                    **difference.interval.as_columns("difference"),
                    "p": difference.p,
                    "seconds": seconds,
                }
            )
    return rows


def draw_conditions(table: pd.DataFrame) -> Figure:
    """Draw each condition's difference to the first, a row per data set, a panel per score."""
    sets = list(dict.fromkeys(table["data"]))
    figure = Figure(
        figsize=(9, 0.6 + 2.6 * len(sets)), dpi=120, layout="constrained", facecolor="white"
    )
    axes = figure.subplots(len(sets), len(COMPARED_SCORES), squeeze=False)
    for row, data in zip(axes, sets, strict=True):
        of_data = table[table["data"] == data]
        labels = [
            f"{r.height}x{r.width}\n{r.fit}"
            for r in of_data[["height", "width", "fit"]].drop_duplicates().itertuples()
        ]
        kinds = list(dict.fromkeys(of_data["shape"]))
        for axis, score in zip(row, COMPARED_SCORES, strict=True):
            for i, kind in enumerate(kinds):
                of = of_data[(of_data["shape"] == kind) & (of_data["score"] == score)]
                axis.errorbar(
                    np.arange(len(of)) + 0.16 * (i - (len(kinds) - 1) / 2),
                    of["difference"],
                    np.nan_to_num(error_bars(of, "difference")),
                    fmt="o",
                    ms=5,
                    capsize=2,
                    c=COLOURS[kind],
                    label=f"{data}, {kind} ({of['images'].iloc[0]} images)",
                )
            axis.axhline(0, color="0.8", lw=0.8, zorder=0)
            better = "less is better" if score == "kl" else "more is better"
            title = f"{data}: {SCORES[score].label} minus that of {labels[0].replace(chr(10), ' ')}"
            axis.set_title(f"{title}\n({better})", fontsize=8)
            axis.set_xticks(range(len(labels)), labels)
            axis.set_xlim(-0.5, len(labels) - 0.5)
            axis.tick_params(labelsize=8)
            axis.spines[["top", "right"]].set_visible(False)
    labelled = dict(
        pair
        for axis in axes[:, 0]
        for pair in zip(*axis.get_legend_handles_labels()[::-1], strict=True)
    )
    figure.legend(
        labelled.values(), labelled, loc="outside lower center", ncols=4, fontsize=8, frameon=False
    )
    return figure


if __name__ == "__main__":
    main()
