"""Runs that differ in their seed only, as one row: what a method gives, not what one run gave."""

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
    """Read run folders and put those of equal options, the seed apart, into one row.

    A score is the mean over seeds of a run's mean over images, with a 95 % t interval over seeds
    (NaN for one seed). Rows are tested against each other by Wilcoxon's signed-rank test over
    images, on each image's mean over seeds.

    Raises:
        FileNotFoundError, ValueError: as `compare`.
    """
    alone = compare_runs(folders)
    groups: dict[str, list[int]] = {}
    for i, folder in enumerate(folders):
        options = read_run(folder, folder.parent).options
        key = str(sorted((k, str(v)) for k, v in options.items() if k != "seed"))
        groups.setdefault(key, []).append(i)
    labels = _seed_group_labels([[alone.runs[i] for i in runs] for runs in groups.values()])
    images = [read_tested_run(folder)[1] for folder in folders]
    means, columns = {}, {}
    for label, runs in zip(labels, groups.values(), strict=True):
        mine = [alone.means[alone.runs[i]] for i in runs]
        means[label] = {
            s: t_interval([one[s]["mean"] for one in mine]).as_mean() for s in alone.best
        }
        tables = [images[i].loc[images[0].index, [*alone.best]] for i in runs]
        columns[label] = sum(tables[1:], start=tables[0]) / len(tables)
    baselines = {row: of for row, of in alone.means.items() if row not in alone.runs}
    return RunComparison(
        f"{alone.header.rpartition(';')[0]}; mean over seeds ± half a 95 % t interval over seeds "
        "(baselines: over images)",
        labels,
        {**means, **baselines},
        {score: best_run(score, means) for score in alone.best},
        {
            score: pairwise_p_values({n: of[score] for n, of in columns.items()})
            for score in alone.best
        },
    )


def _seed_group_labels(groups: Sequence[Sequence[str]]) -> list[str]:
    """Name groups of runs after their first, without its seed, and its number if that is enough."""
    names = [re.sub(r"-s\d+$", "", runs[0]) for runs in groups]
    short = [re.sub(r"^\d+-", "", name) for name in names]
    counts = [f"{len(runs)} seed{'s' if len(runs) > 1 else ''}" for runs in groups]
    shown = short if len(set(short)) == len(short) else names
    return [f"{name} ({count})" for name, count in zip(shown, counts, strict=True)]
