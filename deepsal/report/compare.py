"""Runs side by side: means with intervals, and whether their difference is more than chance."""

import os
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from deepsal.report import scores
from deepsal.report.tables import LOWER, NAMES, SCORES
from deepsal.rf.inference import holm, wilcoxon

LEVEL = 0.05
ALIKE = ("dataset", "protocol", "maps", "images")


class Comparison(NamedTuple):
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


def compare(folders: Sequence[Path]) -> Comparison:
    """Read run folders and test every pair of runs, image by image.

    Wilcoxon's signed-rank test on `scores.csv`, Holm-adjusted over the pairs within each score;
    NaN where too few images differ.

    Raises:
        FileNotFoundError: a folder has no scores.
        ValueError: the runs were scored on other images, data, or by another protocol.
    """
    labels = _labels(folders)
    found = {label: _read(folder) for label, folder in zip(labels, folders, strict=True)}
    (first, (about, table)), *rest = found.items()
    for label, (other, images) in rest:
        for key in ALIKE:
            if other.get(key) != about.get(key):
                raise ValueError(
                    f"{first} has {key} {about.get(key)}, {label} has {other.get(key)}: "
                    "compare runs scored alike"
                )
        if set(images.index) != set(table.index):
            raise ValueError(f"{first} and {label} were scored on different images")
    known = [s for s in SCORES if all(s in about["scores"]["run"] for about, _ in found.values())]
    means = {label: about["scores"]["run"] for label, (about, _) in found.items()}
    means |= {NAMES.get(n, n): m for n, m in about["scores"].items() if n != "run"}
    columns = {
        score: {label: images.loc[table.index, score] for label, (_, images) in found.items()}
        for score in known
    }
    return Comparison(
        _header(about),
        labels,
        {label: {score: row[score] for score in known} for label, row in means.items()},
        {score: _best(score, {label: means[label] for label in labels}) for score in known},
        {score: _tests(values) for score, values in columns.items()},
    )


def markdown(found: Comparison) -> str:
    """Return the table and, for more than one run, the p values of its pairs."""
    rows = [["", *_titles(found)], ["---", *["---"] * len(found.best)]]
    rows += [[_escaped(label), *_cells(found, label, "**{}**")] for label in found.means]
    text = f"{found.header}\n\n" + "".join(f"| {' | '.join(row)} |\n" for row in rows)
    if len(found.runs) < 2:
        return text
    pairs = [*combinations(found.runs, 2)]
    text += f"\nBold: the best run, and runs that do not differ from it (p ≥ {LEVEL}).\n"
    text += "\nPaired Wilcoxon tests over images, Holm-adjusted within each score, p:\n\n"
    rows = [["", *_titles(found)], ["---", *["---"] * len(found.best)]]
    for a, b in pairs:
        values = (f"{found.p[score][a, b]:.2g}" for score in found.best)
        rows.append([f"{_escaped(a)} – {_escaped(b)}", *values])
    return text + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def csv(found: Comparison) -> str:
    """Return one row per run and score; `p_best` compares with the best run."""
    rows = [
        {
            "run": label,
            "score": score,
            **values,
            "best": label == found.best[score],
            "p_best": _p(found, score, label),
        }
        for label, row in found.means.items()
        for score, values in row.items()
    ]
    return f"# {found.header}\n" + pd.DataFrame(rows).to_csv(index=False)


def latex(found: Comparison) -> str:
    """Return a tabular for booktabs."""
    titles = (f"{SCORES[s]} ${_arrow(s, latex=True)}$" for s in found.best)
    lines = [
        f"% {found.header}",
        f"\\begin{{tabular}}{{l{'r' * len(found.best)}}}",
        "\\toprule",
        " & ".join(["", *titles]) + r" \\",
        "\\midrule",
    ]
    for label in found.means:
        cells = (c.replace("±", r"$\pm$") for c in _cells(found, label, r"\textbf{{{}}}"))
        lines.append(" & ".join([label.replace("_", r"\_"), *cells]) + r" \\")
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", ""])


FORMATS: Mapping[str, Callable[[Comparison], str]] = {
    ".md": markdown,
    ".csv": csv,
    ".tex": latex,
}


def save(found: Comparison, file: Path) -> None:
    """Write the table in the format of the file's ending.

    Raises:
        ValueError: another ending than .md, .csv or .tex.
    """
    if file.suffix not in FORMATS:
        raise ValueError(f"{file}: a table can be written to {', '.join(FORMATS)}")
    partial = file.with_name(f".{file.name}.partial")
    partial.write_text(FORMATS[file.suffix](found))
    os.replace(partial, file)


def _read(folder: Path) -> tuple[dict[str, Any], pd.DataFrame]:
    for name in ("scores.json", "scores.csv"):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} has no {name}: name the folder of a tested run")
    return scores.read(folder), pd.read_csv(folder / "scores.csv", index_col="name")


def _labels(folders: Sequence[Path]) -> list[str]:
    paths = [folder.resolve() for folder in folders]
    names = [path.name for path in paths]
    if len(set(paths)) < len(paths):
        raise ValueError("a run folder was named twice")
    return names if len(set(names)) == len(names) else [f"{p.parent.name}/{p.name}" for p in paths]


def _header(about: Mapping[str, Any]) -> str:
    protocol, maps = about.get("protocol", "tuebingen"), about.get("maps", "density")
    over = about.get("ig_over")
    return (
        f"{about['dataset']}, {about['images']} test images at their own size; protocol "
        f"{protocol}, maps: {maps}{f'; IG in bit over the {over}' if over else ''}; mean ± half a "
        "95 % bootstrap interval over images"
    )


def _best(score: str, runs: Mapping[str, Any]) -> str:
    sign = -1 if score in LOWER else 1
    return max(runs, key=lambda label: np.nan_to_num(sign * runs[label][score]["mean"], nan=-1e99))


def _tests(values: Mapping[str, "pd.Series[float]"]) -> dict[tuple[str, str], float]:
    pairs = [*combinations(values, 2)]
    arrays = {label: column.to_numpy(dtype=np.float64) for label, column in values.items()}
    p = np.array([wilcoxon(arrays[a], arrays[b]) for a, b in pairs])
    return dict(zip(pairs, holm(p).tolist(), strict=True))


def _p(found: Comparison, score: str, label: str) -> float:
    best = found.best[score]
    if label not in found.runs or label == best:
        return float("nan")
    tests = found.p[score]
    return tests.get((label, best), tests.get((best, label), float("nan")))


def _cells(found: Comparison, label: str, bold: str) -> list[str]:
    cells = []
    for score, value in found.means[label].items():
        text = f"{value['mean']:.3f} ± {(value['high'] - value['low']) / 2:.3f}"
        is_best = label in found.runs and not _p(found, score, label) < LEVEL
        cells.append(bold.format(text) if is_best else text)
    return cells


def _titles(found: Comparison) -> list[str]:
    return [f"{SCORES[score]} {_arrow(score)}" for score in found.best]


def _arrow(score: str, latex: bool = False) -> str:
    down, up = (r"\downarrow", r"\uparrow") if latex else ("↓", "↑")
    return down if score in LOWER else up


def _escaped(label: str) -> str:
    return label.replace("|", "\\|")
