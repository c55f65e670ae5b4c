"""A comparison of runs as Markdown, CSV, LaTeX, and for reading in a terminal."""

import os
from collections.abc import Callable, Mapping
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from deepsal.report.tables.runs import (
    SIGNIFICANCE_LEVEL,
    RunComparison,
    is_among_best,
    p_against_best,
)
from deepsal.report.tables.terminal import format_score
from deepsal.vocabulary import SCORES

BOLD_NOTE = f"Bold: the best run, and runs that do not differ from it (p ≥ {SIGNIFICANCE_LEVEL})."
TESTS_NOTE = (
    "Paired Wilcoxon tests over images, Holm-adjusted within each score, p; – where too few images "
    "differ:"
)


def markdown_table(found: RunComparison) -> str:
    """Return the table and, for more than one run, the p values of its pairs."""
    rows = [["", *_score_titles(found)], ["---", *["---"] * len(found.best)]]
    rows += [[_escape_bars(label), *_mean_cells(found, label, "**{}**")] for label in found.means]
    text = f"{found.header}\n\n" + "".join(f"| {' | '.join(row)} |\n" for row in rows)
    if len(found.runs) < 2:
        return text
    pairs = [*combinations(found.runs, 2)]
    text += f"\n{BOLD_NOTE}\n\n{TESTS_NOTE}\n\n"
    rows = [["", *_score_titles(found)], ["---", *["---"] * len(found.best)]]
    for a, b in pairs:
        rows.append([f"{_escape_bars(a)} – {_escape_bars(b)}", *_p_value_cells(found, a, b)])
    return text + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def print_comparison(found: RunComparison, console: Console) -> None:
    """Print the table and the p values for reading, in as few columns as it takes."""
    console.print(found.header)
    table = _terminal_table(found)
    for label, row in found.means.items():
        best = [is_among_best(found, score, label) for score in row]
        cells = (
            f"[bold]{format_score(v)}[/]" if b else format_score(v)
            for v, b in zip(row.values(), best, strict=True)
        )
        table.add_row(escape(label), *cells)
    console.print(table)
    if len(found.runs) > 1:
        console.print(f"{BOLD_NOTE}\n\n{TESTS_NOTE}")
        tests = _terminal_table(found)
        for a, b in combinations(found.runs, 2):
            tests.add_row(escape(f"{a} – {b}"), *_p_value_cells(found, a, b))
        console.print(tests)


def csv_table(found: RunComparison) -> str:
    """Return one row per run and score; `p_best` compares with the best run."""
    rows = [
        {
            "run": label,
            "score": score,
            **values,
            "best": label == found.best[score],
            "p_best": p_against_best(found, score, label),
        }
        for label, row in found.means.items()
        for score, values in row.items()
    ]
    return f"# {found.header}\n" + pd.DataFrame(rows).to_csv(index=False)


def latex_table(found: RunComparison) -> str:
    """Return a tabular for booktabs."""
    titles = (f"{SCORES[s].label} ${_direction_arrow(s, latex=True)}$" for s in found.best)
    lines = [
        f"% {found.header}",
        f"\\begin{{tabular}}{{l{'r' * len(found.best)}}}",
        "\\toprule",
        " & ".join(["", *titles]) + r" \\",
        "\\midrule",
    ]
    for label in found.means:
        cells = (c.replace("±", r"$\pm$") for c in _mean_cells(found, label, r"\textbf{{{}}}"))
        lines.append(" & ".join([label.replace("_", r"\_"), *cells]) + r" \\")
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", ""])


TABLE_FORMATS: Mapping[str, Callable[[RunComparison], str]] = {
    ".md": markdown_table,
    ".csv": csv_table,
    ".tex": latex_table,
}


def write_table(found: RunComparison, file: Path) -> None:
    """Write the table in the format of the file's ending.

    Raises:
        ValueError: another ending than .md, .csv or .tex.
    """
    if file.suffix not in TABLE_FORMATS:
        raise ValueError(f"{file}: a table can be written to {', '.join(TABLE_FORMATS)}")
    partial = file.with_name(f".{file.name}.partial")
    partial.write_text(TABLE_FORMATS[file.suffix](found))
    os.replace(partial, file)


def _terminal_table(found: RunComparison) -> Table:
    table = Table("", box=SIMPLE, padding=0, show_edge=False)
    table.columns[0].overflow = "fold"
    for title in _score_titles(found):
        table.add_column(title.replace(" ", ""), justify="right", no_wrap=True)
    return table


def _mean_cells(found: RunComparison, label: str, bold: str) -> list[str]:
    cells = []
    for score, value in found.means[label].items():
        half = (value["high"] - value["low"]) / 2
        text = f"{value['mean']:.3f}" + (f" ± {half:.3f}" if half == half else "")
        cells.append(bold.format(text) if is_among_best(found, score, label) else text)
    return cells


def _p_value_cells(found: RunComparison, a: str, b: str) -> list[str]:
    values = [found.p[score][a, b] for score in found.best]
    return ["–" if np.isnan(p) else f"{p:.2g}" for p in values]


def _score_titles(found: RunComparison) -> list[str]:
    return [f"{SCORES[score].label} {_direction_arrow(score)}" for score in found.best]


def _direction_arrow(score: str, latex: bool = False) -> str:
    down, up = (r"\downarrow", r"\uparrow") if latex else ("↓", "↑")
    return down if SCORES[score].direction == "min" else up


def _escape_bars(label: str) -> str:
    return label.replace("|", "\\|")
