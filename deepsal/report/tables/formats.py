"""Formats of a comparison of runs: Markdown, CSV, LaTeX, and a table in the terminal."""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from deepsal import atomic
from deepsal.report.score_text import direction_arrow, format_score
from deepsal.report.tables.runs import (
    SIGNIFICANCE_LEVEL,
    RunComparison,
    is_among_best,
    p_against_best,
)
from deepsal.vocabulary import SCORES

BOLD_NOTE = f"Bold: the best run, and runs that do not differ from it (p ≥ {SIGNIFICANCE_LEVEL})."
TESTS_NOTE = (
    "Paired Wilcoxon tests over images, Holm-adjusted within each score, p; – where too few images "
    "differ:"
)


def markdown_table(comparison: RunComparison) -> str:
    """Return the mean scores as Markdown and, for more than one run, the p values of its pairs."""

    def table(rows: Sequence[Sequence[str]]) -> str:
        head = [["", *_score_titles(comparison)], ["---"] * (1 + len(comparison.best))]
        cells = ([label.replace("|", "\\|"), *rest] for label, *rest in rows)
        return "".join(f"| {' | '.join(row)} |\n" for row in [*head, *cells])

    text = f"{comparison.header}\n\n{table(_mean_rows(comparison, '**{}**'))}"
    if len(comparison.runs) < 2:
        return text
    return f"{text}\n{BOLD_NOTE}\n\n{TESTS_NOTE}\n\n{table(_p_value_rows(comparison))}"


def print_comparison(comparison: RunComparison, console: Console) -> None:
    """Print the mean scores and the p values, at most 80 columns wide for seven scores."""

    def table(rows: Sequence[Sequence[str]]) -> Table:
        result = Table("", box=SIMPLE, padding=0, show_edge=False)
        result.columns[0].overflow = "fold"
        for title in _score_titles(comparison):
            result.add_column(title.replace(" ", ""), justify="right", no_wrap=True)
        for label, *cells in rows:
            result.add_row(escape(label), *cells)
        return result

    console.print(comparison.header, markup=False)
    console.print(table(_mean_rows(comparison, "[bold]{}[/]", compact=True)))
    if len(comparison.runs) > 1:
        console.print(f"{BOLD_NOTE}\n\n{TESTS_NOTE}")
        console.print(table(_p_value_rows(comparison)))


def csv_table(comparison: RunComparison) -> str:
    """Return one row per run and score; `p_best` is the p value against the best run."""
    rows = [
        {
            "run": label,
            "score": score,
            **values,
            "best": label == comparison.best[score],
            "p_best": p_against_best(comparison, score, label),
        }
        for label, row in comparison.means.items()
        for score, values in row.items()
    ]
    return f"# {comparison.header}\n" + pd.DataFrame(rows).to_csv(index=False)


def latex_table(comparison: RunComparison) -> str:
    """Return the mean scores as a `tabular` for the package booktabs."""
    symbols = str.maketrans({"±": r"$\pm$", "↓": r"$\downarrow$", "↑": r"$\uparrow$"})
    rows = [["", *_score_titles(comparison)]]
    rows += [
        [label.replace("_", r"\_"), *cells]
        for label, *cells in _mean_rows(comparison, r"\textbf{{{}}}")
    ]
    head, *body = (f"{' & '.join(row)} \\\\".translate(symbols) for row in rows)
    begin = f"\\begin{{tabular}}{{l{'r' * len(comparison.best)}}}"
    lines = [f"% {comparison.header}", begin, "\\toprule", head, "\\midrule", *body]
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", ""])


TABLE_FORMATS: Mapping[str, Callable[[RunComparison], str]] = {
    ".md": markdown_table,
    ".csv": csv_table,
    ".tex": latex_table,
}


def write_table(comparison: RunComparison, file: Path) -> Path:
    """Write the table in the format of the file's suffix; return the file.

    Raises:
        ValueError: a suffix other than .md, .csv or .tex.
    """
    if file.suffix not in TABLE_FORMATS:
        raise ValueError(f"{file} must end in one of {', '.join(TABLE_FORMATS)}")
    return atomic.write_text(file, TABLE_FORMATS[file.suffix](comparison))


def _mean_rows(comparison: RunComparison, bold: str, compact: bool = False) -> list[list[str]]:
    """Return a label and cells for each run and baseline; `bold` formats the best cells."""
    return [
        [label]
        + [
            (bold if is_among_best(comparison, score, label) else "{}").format(
                format_score(value, compact)
            )
            for score, value in row.items()
        ]
        for label, row in comparison.means.items()
    ]


def _p_value_rows(comparison: RunComparison) -> list[list[str]]:
    return [
        [f"{a} – {b}"]
        + [
            "–" if np.isnan(p := tests[a, b]) else f"{p:.2g}"
            for tests in comparison.p_values.values()
        ]
        for a, b in combinations(comparison.runs, 2)
    ]


def _score_titles(comparison: RunComparison) -> list[str]:
    return [f"{SCORES[score].label} {direction_arrow(score)}" for score in comparison.best]
