"""Comparison of runs: mean scores with intervals, and paired tests image by image."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from deepsal.runs import score_files
from deepsal.statistics import holm_correction, wilcoxon_test
from deepsal.vocabulary import SCORES

SIGNIFICANCE_LEVEL = 0.05
SCORING_CONDITIONS = ("dataset", "protocol", "maps", "images")
"""Keys of `scores.json` that must agree before scores are compared."""


class RunComparison(NamedTuple):
    """Scores of several runs on the same images, and tests of their differences.

    header: data set, protocol, number of images, baseline of IG · runs: labels · means: `{row:
    {score: mean, low, high, count}}`, runs first, then baselines · best: `{score: run with the best
    mean}` · p_values: `{score: {pair of runs: Holm-adjusted p}}`.
    """

    header: str
    runs: list[str]
    means: dict[str, dict[str, dict[str, float]]]
    best: dict[str, str]
    p_values: dict[str, dict[tuple[str, str], float]]


def compare_runs(folders: Sequence[Path]) -> RunComparison:
    """Read run folders and test every pair of runs, image by image.

    The test is Wilcoxon's signed-rank test on `scores.csv`, Holm-adjusted over the pairs within
    each score. p is NaN where too few images differ. IG is left out of runs that were scored over
    different centre priors.

    Raises:
        FileNotFoundError: a folder has no scores.
        ValueError: the runs were scored on other images or data, or by another protocol.
    """
    summaries, tables = zip(*map(read_tested_run, folders), strict=True)
    labels = _run_labels(folders, [summary.get("trained_on") for summary in summaries])
    first, images = summaries[0], tables[0].index
    for label, summary, table in zip(labels, summaries, tables, strict=True):
        if key := differing_condition(first, summary):
            raise ValueError(
                f"{labels[0]} has {key} {first.get(key)}, {label} has {summary.get(key)}: "
                "only runs scored on the same images by the same protocol can be compared"
            )
        if set(table.index) != set(images):
            raise ValueError(f"{labels[0]} and {label} were scored on different images")
    rows = [summary["scores"]["run"] for summary in summaries]
    priors = {str(summary.get("settings", {}).get("centre")) for summary in summaries}
    compared = [score for score in SCORES if score != "ig" or len(priors) == 1]
    scores = [score for score in compared if all(score in row for row in rows)]
    means = dict(zip(labels, rows, strict=True))
    best = {score: best_run(score, means) for score in scores}
    means |= _baseline_rows(labels, summaries)
    ordered = [table.loc[images] for table in tables]
    return RunComparison(
        _table_header(first, one_prior=len(priors) == 1),
        labels,
        {label: {score: row[score] for score in scores} for label, row in means.items()},
        best,
        {score: pairwise_p_values(labels, [t[score] for t in ordered]) for score in scores},
    )


def find_tested_runs(folder: Path) -> list[Path]:
    """Return the run folder itself, or the tested runs in it, by name."""
    inner = [] if (folder / "scores.json").is_file() else sorted(folder.glob("*/scores.json"))
    return [file.parent for file in inner] or [folder]


def read_tested_run(folder: Path) -> tuple[dict[str, Any], pd.DataFrame]:
    """Return a run's `scores.json`, and its `scores.csv` indexed by image.

    Raises:
        FileNotFoundError: one of the two files is missing.
    """
    for name in ("scores.json", "scores.csv"):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} has no {name}; pass the folder of a tested run")
    return score_files.read_scores(folder), score_files.read_image_scores(folder)


def differing_condition(one: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
    """Return the first scoring condition in which two `scores.json` differ, or None.

    >>> differing_condition({"dataset": "OSIE", "images": 70}, {"dataset": "OSIE", "images": 30})
    'images'
    """
    return next((key for key in SCORING_CONDITIONS if one.get(key) != other.get(key)), None)


def best_run(score: str, runs: Mapping[str, Any]) -> str:
    """Return the label of the run with the best mean."""
    sign = -1 if SCORES[score].direction == "min" else 1
    return max(runs, key=lambda label: np.nan_to_num(sign * runs[label][score]["mean"], nan=-1e99))


def pairwise_p_values(
    labels: Sequence[str], columns: Sequence["pd.Series[float]"]
) -> dict[tuple[str, str], float]:
    """Return the Holm-adjusted p of every pair of runs.

    Args:
        labels: of the runs.
        columns: one score of each run, the images in the same order.
    """
    arrays = [column.to_numpy(dtype=np.float64) for column in columns]
    p = np.array([wilcoxon_test(one, other) for one, other in combinations(arrays, 2)])
    return dict(zip(combinations(labels, 2), holm_correction(p).tolist(), strict=True))


def p_against_best(comparison: RunComparison, score: str, label: str) -> float:
    """Return the p value of a run against the best one; NaN for the best and for baselines."""
    best, p_values = comparison.best[score], comparison.p_values[score]
    return p_values.get((label, best), p_values.get((best, label), float("nan")))


def is_among_best(comparison: RunComparison, score: str, label: str) -> bool:
    """Return whether a run has the best mean, or its test against the best run has p ≥ 0.05."""
    if label not in comparison.runs:
        return False
    run, best = (comparison.means[row][score] for row in (label, comparison.best[score]))
    p = p_against_best(comparison, score, label)
    return run["mean"] == best["mean"] or p >= SIGNIFICANCE_LEVEL


def _run_labels(folders: Sequence[Path], training_sets: Sequence[str | None]) -> list[str]:
    """Return the names of run folders, with the sets they were trained on where these differ."""
    paths = [folder.resolve() for folder in folders]
    names = [path.name for path in paths]
    if len(set(paths)) < len(paths):
        raise ValueError("a run folder is named twice")
    if len(set(names)) < len(names):
        names = [f"{path.parent.name}/{path.name}" for path in paths]
    if len({*training_sets} - {None}) < 2:
        return names
    pairs = zip(names, training_sets, strict=True)
    return [f"{name} (trained on {used})" if used else name for name, used in pairs]


def _table_header(summary: Mapping[str, Any], one_prior: bool) -> str:
    protocol, maps = summary.get("protocol", "tuebingen"), summary.get("maps", "density")
    prior = f"; IG in bit over the {over}" if (over := summary.get("ig_over")) else ""
    if not one_prior:
        prior = "; no IG, because it is over another centre prior in each run"
    return (
        f"{summary['dataset']}, {summary['images']} test images at their own size; protocol "
        f"{protocol}, maps: {maps}{prior}; "
        "mean ± half a 95 % bootstrap interval over images"
    )


def _baseline_rows(
    labels: Sequence[str], summaries: Sequence[Mapping[str, Any]]
) -> dict[str, dict[str, dict[str, float]]]:
    """Return the rows of baselines; one that differs from an earlier run's has its run's name."""
    rows: dict[str, dict[str, dict[str, float]]] = {}
    for label, summary in zip(labels, summaries, strict=True):
        for name, means in summary["scores"].items():
            if name != "run" and not _same_means(rows.setdefault(name, means), means):
                rows[f"{name} of {label}"] = means
    return rows


def _same_means(one: Mapping[str, dict[str, float]], other: Mapping[str, dict[str, float]]) -> bool:
    pairs = [(one[score]["mean"], other[score]["mean"]) for score in one if score in other]
    return all(np.isclose(a, b, atol=1e-6, equal_nan=True) for a, b in pairs)
