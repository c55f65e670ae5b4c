"""Scores and fields of a study by condition, with paired differences to a reference condition."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepsal.report.run_folders import RunSummary, read_run
from deepsal.statistics import Interval, crossed_bootstrap, holm_correction, t_interval

COMPARED_SCORES = ("nss", "cc", "kl")


class SeedRuns(NamedTuple):
    """Runs of one condition, of S seeds and N images.

    scores: `{score: (S, N)}`, images in the order of their names · runs: in the order of `scores`.
    """

    scores: dict[str, NDArray[np.float64]]
    runs: list[RunSummary]


def read_conditions(
    folder: Path,
    condition: Callable[[Mapping[str, Any]], str | None],
    scores: Sequence[str] = COMPARED_SCORES,
) -> dict[str, SeedRuns]:
    """Read the finished jobs of a study.

    Args:
        folder: of the study; each job is a folder in it.
        condition: function of a run's options (`{dotted key: value}`) that returns the name of its
            condition, or None to leave the run out.
        scores: columns of `scores.csv`.

    Returns:
        The runs of each condition, of the same seeds and images, in the order of the names of the
        folders.

    Raises:
        FileNotFoundError: no finished job, or a condition lacks a seed that another has.
        ValueError: two runs are of one condition and seed.
    """
    jobs: dict[str, dict[int, tuple[RunSummary, pd.DataFrame]]] = {}
    for job in sorted(file.parent for file in folder.glob("*/done")):
        run = read_run(job, folder)
        name, seed = condition(run.options), int(run.options["seed"])
        if name is None:
            continue
        if seed in jobs.setdefault(name, {}):
            other = jobs[name][seed][0].name
            raise ValueError(f"{folder / run.name} and {other} are both {name}, seed {seed}")
        jobs[name][seed] = run, pd.read_csv(job / "scores.csv").sort_values("name")
    if not jobs:
        raise FileNotFoundError(f"{folder} holds no finished job; run the study first")
    seeds = sorted(set().union(*jobs.values()))
    for name, of in jobs.items():
        if missing := [seed for seed in seeds if seed not in of]:
            raise FileNotFoundError(f"{folder} has no finished job of {name}, seed {missing[0]}")
    return {
        name: SeedRuns(
            {
                score: np.stack([of[seed][1][score].to_numpy() for seed in seeds])
                for score in scores
            },
            [of[seed][0] for seed in seeds],
        )
        for name, of in jobs.items()
    }


def condition_table(
    conditions: Mapping[str, SeedRuns],
    reference: str,
    fields: Sequence[str] = ("correlation", "reliability"),
) -> pd.DataFrame:
    """Return the mean of each score and measure of fields, a row per condition.

    Args:
        conditions: runs of each condition.
        reference: condition with which the others are compared.
        fields: measures of fields at the last checkpoint, keys of `MEASURES`.

    Returns:
        Columns `measure` (a score, or a measure and stage such as `correlation/conv4`),
        `condition`, `seeds`; `mean`, `low`, `high`; and of scores `difference` to the reference on
        the same images, its ends and `p`. Intervals of scores are crossed over seeds and images,
        those of fields are Student's over seeds. p is Holm-adjusted over the conditions.

    Raises:
        ValueError: no run is of the reference.
    """
    if reference not in conditions:
        raise ValueError(f"no run is of the condition {reference!r}; there are {[*conditions]}")
    rows = []
    for score in conditions[reference].scores:
        for name, of in conditions.items():
            values = of.scores[score]
            row = _row(score, name, of, crossed_bootstrap(values, np.nanmean).interval)
            if name != reference:
                change = crossed_bootstrap(values - conditions[reference].scores[score], np.nanmean)
                row |= {**change.interval.as_columns("difference"), "p": change.p}
            rows.append(row)
    for measure in fields:
        for name, of in conditions.items():
            for stage in of.runs[0].fields.get(measure, ()):
                means = [run.fields[measure][stage] for run in of.runs if measure in run.fields]
                rows.append(_row(f"{measure}/{stage}", name, of, t_interval(means)))
    table = pd.DataFrame(rows).reindex(
        columns=[
            *("measure", "condition", "seeds", "mean", "low", "high"),
            *("difference", "difference_low", "difference_high", "p"),
        ]
    )
    p = table.groupby("measure", sort=False)["p"]
    table["p"] = p.transform(lambda of: holm_correction(of.to_numpy(dtype=np.float64)))
    return table


def _row(measure: str, condition: str, of: SeedRuns, mean: Interval) -> dict[str, Any]:
    row = {"measure": measure, "condition": condition, "seeds": len(of.runs)}
    return {**row, "mean": mean.estimate, "low": mean.low, "high": mean.high}
