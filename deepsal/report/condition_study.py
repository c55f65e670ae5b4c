"""Command line of a study that compares the values of one option: its table and its figure."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from deepsal.report.figures.conditions import draw_conditions
from deepsal.report.tables.conditions import COMPARED_SCORES, condition_table, read_conditions


def compare_conditions(
    script: Path,
    option: str,
    labels: Mapping[str, str],
    reference: str,
    scores: Sequence[str] = COMPARED_SCORES,
    differences: bool = False,
    arguments: Sequence[str] | None = None,
) -> None:
    """Write `expected.csv` and `figure.png` of a study, and print the table.

    Args:
        script: of the study, beside which the files are written if the command line names no other
            folder.
        option: dotted name of the option in which the runs differ.
        labels: of its values, in the order of the figure's rows; runs of other values are left out.
        reference: label of the value with which the others are compared.
        scores: columns of `scores.csv`.
        differences: whether to draw differences to the reference instead of means.
        arguments: of the command line; None for those of this process.

    Raises:
        FileNotFoundError: the errors of `read_conditions`.
        ValueError: those of `read_conditions` and of `condition_table`.
    """
    parser = argparse.ArgumentParser(description="Compare the runs of a study.")
    parser.add_argument("runs", type=Path, help="folder of the study, with its run folders")
    parser.add_argument("--to", type=Path, default=script.parent, help="output folder")
    parsed = parser.parse_args(arguments)
    conditions = read_conditions(parsed.runs, lambda of: labels.get(of[option]), scores)
    table = condition_table(conditions, reference)
    print(table.round(3).to_string(index=False))  # noqa: T201
    table.to_csv(parsed.to / "expected.csv", index=False, float_format="%.4g")
    rows = [label for label in labels.values() if label in conditions]
    if differences:
        rows.remove(reference)
    figure = draw_conditions(table, rows, reference=reference if differences else None)
    figure.savefig(parsed.to / "figure.png")
