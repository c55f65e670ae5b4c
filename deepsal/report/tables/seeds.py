"""Comparison of methods over seeds: runs that differ in their seed only are one row."""

import re
from collections.abc import Sequence
from pathlib import Path

from deepsal.report.run_folders import read_run
from deepsal.report.tables.runs import (
    RunComparison,
    best_run,
    compare_runs,
    pairwise_p_values,
    read_tested_run,
)
from deepsal.statistics import t_interval


def compare_over_seeds(folders: Sequence[Path]) -> RunComparison:
    """Compare groups of runs that have equal options, apart from the seed.

    A score is the mean over seeds of a run's mean over images, with a 95 % t interval over seeds
    (NaN for one seed). Groups are tested against each other by Wilcoxon's signed-rank test over
    images, on each image's mean over seeds.

    Raises:
        FileNotFoundError, ValueError: as `compare_runs`; ValueError also for two runs that agree
            in all options and in their seed.
    """
    runs = compare_runs(folders)
    groups: dict[str, dict[str, int]] = {}
    for i, folder in enumerate(folders):
        options = read_run(folder, folder.parent).options
        key = str(sorted((k, str(v)) for k, v in options.items() if k != "seed"))
        first = groups.setdefault(key, {}).setdefault(seed := str(options.get("seed")), i)
        if first != i:
            raise ValueError(
                f"{runs.runs[first]} and {runs.runs[i]} are equal runs with the seed {seed}; "
                "leave one out"
            )
    members = [[*group.values()] for group in groups.values()]
    labels = _seed_group_labels([[runs.runs[i] for i in group] for group in members])
    tables = [read_tested_run(folder)[1] for folder in folders]
    means, columns = {}, []
    for label, group in zip(labels, members, strict=True):
        rows = [runs.means[runs.runs[i]] for i in group]
        means[label] = {
            s: t_interval([row[s]["mean"] for row in rows]).as_mean() for s in runs.best
        }
        scores = [tables[i].loc[tables[0].index, [*runs.best]] for i in group]
        columns.append(sum(scores[1:], start=scores[0]) / len(scores))
    baselines = {label: row for label, row in runs.means.items() if label not in runs.runs}
    return RunComparison(
        f"{runs.header.rpartition(';')[0]}; mean over seeds ± half a 95 % t interval over seeds "
        "(baselines: over images)",
        labels,
        {**means, **baselines},
        {score: best_run(score, means) for score in runs.best},
        {s: pairwise_p_values(labels, [column[s] for column in columns]) for s in runs.best},
    )


def _seed_group_labels(groups: Sequence[Sequence[str]]) -> list[str]:
    """Name each group after its first run, without its seed and, where still unique, its number."""
    names = [re.sub(r"-s\d+(?= \(|$)", "", runs[0]) for runs in groups]
    short = [re.sub(r"^\d+-", "", name) for name in names]
    counts = [f"{len(runs)} seed{'s' if len(runs) > 1 else ''}" for runs in groups]
    unique = short if len(set(short)) == len(short) else names
    return [f"{name} ({count})" for name, count in zip(unique, counts, strict=True)]
