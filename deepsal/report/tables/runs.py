"""Runs side by side: means with intervals, and whether their difference is more than chance."""

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


class RunComparison(NamedTuple):
    """What several runs found on the same images.

    header: data set, protocol, number of images, what IG is over · means: `{row: {score: mean low
    high count}}`, runs first, then baselines · best: the run with the best mean, per score ·
    p: Holm-adjusted p values per score and pair of runs.
    """

    header: str
    runs: list[str]
    means: dict[str, dict[str, dict[str, float]]]
    best: dict[str, str]
    p: dict[str, dict[tuple[str, str], float]]


def compare_runs(folders: Sequence[Path]) -> RunComparison:
    """Read run folders and test every pair of runs, image by image.

    Wilcoxon's signed-rank test on `scores.csv`, Holm-adjusted over the pairs within each score;
    NaN where too few images differ.

    Raises:
        FileNotFoundError: a folder has no scores.
        ValueError: the runs were scored on other images, data, or by another protocol.
    """
    labels = _folder_labels(folders)
    found = {label: read_tested_run(folder) for label, folder in zip(labels, folders, strict=True)}
    (first, (about, table)), *rest = found.items()
    for label, (other, images) in rest:
        for key in SCORING_CONDITIONS:
            if other.get(key) != about.get(key):
                raise ValueError(
                    f"{first} has {key} {about.get(key)}, {label} has {other.get(key)}: "
                    "compare runs scored alike"
                )
        if set(images.index) != set(table.index):
            raise ValueError(f"{first} and {label} were scored on different images")
    known = [s for s in SCORES if all(s in about["scores"]["run"] for about, _ in found.values())]
    means = {label: about["scores"]["run"] for label, (about, _) in found.items()}
    means |= _baseline_rows(found)
    columns = {
        score: {label: images.loc[table.index, score] for label, (_, images) in found.items()}
        for score in known
    }
    return RunComparison(
        _table_header(about),
        labels,
        {label: {score: row[score] for score in known} for label, row in means.items()},
        {score: best_run(score, {label: means[label] for label in labels}) for score in known},
        {score: pairwise_p_values(values) for score, values in columns.items()},
    )


def find_tested_runs(folder: Path) -> list[Path]:
    """Return the run folder itself, or the tested runs in it, by name."""
    inner = [] if (folder / "scores.json").is_file() else sorted(folder.glob("*/scores.json"))
    return [file.parent for file in inner] or [folder]


def read_tested_run(folder: Path) -> tuple[dict[str, Any], pd.DataFrame]:
    """Return what a run's `scores.json` says, and its scores by image."""
    for name in ("scores.json", "scores.csv"):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} has no {name}: name the folder of a tested run")
    return score_files.read_scores(folder), pd.read_csv(folder / "scores.csv", index_col="name")


def _folder_labels(folders: Sequence[Path]) -> list[str]:
    paths = [folder.resolve() for folder in folders]
    names = [path.name for path in paths]
    if len(set(paths)) < len(paths):
        raise ValueError("a run folder was named twice")
    return names if len(set(names)) == len(names) else [f"{p.parent.name}/{p.name}" for p in paths]


def _table_header(about: Mapping[str, Any]) -> str:
    protocol, maps = about.get("protocol", "tuebingen"), about.get("maps", "density")
    over = about.get("ig_over")
    return (
        f"{about['dataset']}, {about['images']} test images at their own size; protocol "
        f"{protocol}, maps: {maps}{f'; IG in bit over the {over}' if over else ''}; mean ± half a "
        "95 % bootstrap interval over images"
    )


def best_run(score: str, runs: Mapping[str, Any]) -> str:
    """Return the row with the best mean."""
    sign = -1 if SCORES[score].direction == "min" else 1
    return max(runs, key=lambda label: np.nan_to_num(sign * runs[label][score]["mean"], nan=-1e99))


def pairwise_p_values(values: Mapping[str, "pd.Series[float]"]) -> dict[tuple[str, str], float]:
    """Return the Holm-adjusted p of every pair of columns, image by image."""
    pairs = [*combinations(values, 2)]
    arrays = {label: column.to_numpy(dtype=np.float64) for label, column in values.items()}
    p = np.array([wilcoxon_test(arrays[a], arrays[b]) for a, b in pairs])
    return dict(zip(pairs, holm_correction(p).tolist(), strict=True))


def _baseline_rows(
    found: Mapping[str, tuple[dict[str, Any], pd.DataFrame]],
) -> dict[str, dict[str, dict[str, float]]]:
    """Return the rows of the baselines; where runs have other ones, each says whose it is."""
    rows: dict[str, dict[str, dict[str, float]]] = {}
    for label, (about, _) in found.items():
        for name, means in about["scores"].items():
            if name != "run" and not _same_means(rows.setdefault(name, means), means):
                rows[f"{name} of {label}"] = means
    return rows


def _same_means(one: Mapping[str, dict[str, float]], other: Mapping[str, dict[str, float]]) -> bool:
    shared = [score for score in one if score in other]
    mine, yours = ([row[score]["mean"] for score in shared] for row in (one, other))
    return np.allclose(mine, yours, atol=1e-6, equal_nan=True)


def p_against_best(found: RunComparison, score: str, label: str) -> float:
    """Return the p value of a run against the best one; NaN for that and for baselines."""
    best = found.best[score]
    if label not in found.runs or label == best:
        return float("nan")
    tests = found.p[score]
    return tests.get((label, best), tests.get((best, label), float("nan")))


def is_among_best(found: RunComparison, score: str, label: str) -> bool:
    """Return whether a run is the best, as good, or not found to differ from it."""
    if label not in found.runs:
        return False
    one, other = (found.means[run][score]["mean"] for run in (label, found.best[score]))
    return one == other or p_against_best(found, score, label) >= SIGNIFICANCE_LEVEL
