"""Page of a sweep: options in which the runs differ, their scores, and the change of fields."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from deepsal import atomic
from deepsal.report.page.rendering import render_template
from deepsal.report.run_folders import RunSummary, depth_order, find_runs, list_depths, mean_score
from deepsal.vocabulary import MEASURES, SCORES


class ShadedTable(NamedTuple):
    """A table of numbers with shades from 0 to 1; None where there is no number."""

    title: str
    row_heading: str
    columns: list[str]
    rows: list[tuple[str, list[tuple[float, float] | None]]]

    def format_value(self, value: float) -> str:
        """Format a number with the same number of decimal places as all numbers of the table."""
        largest = max(abs(cell[0]) for _, row in self.rows for cell in row if cell)
        return f"{value:.{1 if largest >= 10 else 2}f}".replace("-", "−")


def write_sweep_page(folder: Path) -> Path:
    """Write `report.html` on the runs below a folder.

    Returns:
        The file.

    Raises:
        FileNotFoundError: no run below the folder.
    """
    runs = find_runs(folder)
    if not runs:
        raise FileNotFoundError(f"{folder} holds no run folders (config.yaml and status)")
    columns = differing_options([run.options for run in runs])
    data = {
        "folder": folder.absolute().name,
        "runs": runs,
        "columns": [*columns],
        "cells": [[values[i] for values in columns.values()] for i in range(len(runs))],
        "score_entries": {k: v for k, v in SCORES.items() if any(k in run.scores for run in runs)},
        "tables": shaded_tables(runs, run_labels(runs, columns)),
        "unfinished": [run for run in runs if run.status != "done"],
    }
    return atomic.write_text(folder / "report.html", render_template("sweep.html", data))


def differing_options(options: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return the options in which runs differ, `{option: value of each run}`.

    The options of a group are left out where the group's name determines them.

    >>> one = {"backbone.name": "vgg16", "backbone.model": "vgg16", "seed": 0, "metric": "val/nss"}
    >>> differing_options([one, {**one, "seed": 1}])
    {'seed': ['0', '1']}
    >>> differing_options([one, {**one, "backbone.name": "alexnet", "backbone.model": "alexnet"}])
    {'backbone': ['vgg16', 'alexnet']}
    """
    keys = dict.fromkeys(key for each in options for key in each)
    columns = {key: [str(each.get(key, "")) for each in options] for key in keys}
    varying = {key: values for key, values in columns.items() if len(set(values)) > 1}
    differing: dict[str, list[str]] = {}
    for key, values in varying.items():
        group, _, option = key.partition(".")
        names = varying.get(f"{group}.name")
        if option == "name":
            differing[group] = values
        elif names is None or len({*zip(names, values, strict=True)}) > len({*names}):
            differing[key] = values
    return differing


def run_labels(runs: Sequence[RunSummary], columns: Mapping[str, Sequence[str]]) -> list[str]:
    """Return short labels of runs: their differing options, or their names where these repeat."""
    labels = [" · ".join(values[i] for values in columns.values()) for i in range(len(runs))]
    return labels if len(set(labels)) == len(labels) else [run.name for run in runs]


def shaded_tables(runs: Sequence[RunSummary], labels: Sequence[str]) -> list[ShadedTable]:
    """Return tables of the scores and of the measures of fields.

    Scores are shown by backbone and depth where both vary. Measures are shown by run and stage.
    """
    tables = []
    backbones = [*dict.fromkeys(run.backbone for run in runs)]
    depths = list_depths(runs)
    if len(backbones) > 1 and len(depths) > 1:
        for score, entry in SCORES.items():
            cells = [(b, [mean_score(runs, b, d, score)[0] for d in depths]) for b in backbones]
            title = f"Test {entry.label}: backbone × depth"
            tables.append(_shade_table(title, "backbone", depths, cells))
    ordered = sorted(
        zip(runs, labels, strict=True), key=lambda r: (r[0].backbone, depth_order(r[0].depth))
    )
    for measure, label in MEASURES.items():
        stages = [*dict.fromkeys(stage for run in runs for stage in run.fields.get(measure, {}))]
        cells = [
            (name, [run.fields[measure].get(stage, math.nan) for stage in stages])
            for run, name in ordered
            if measure in run.fields
        ]
        title = f"{label[:1].upper()}{label[1:]}, median over units at the end"
        tables.append(_shade_table(title, "run", stages, cells))
    return [table for table in tables if any(cell for _, row in table.rows for cell in row)]


def _shade_table(
    title: str, row_heading: str, columns: list[str], rows: Sequence[tuple[str, list[float]]]
) -> ShadedTable:
    finite = [value for _, row in rows for value in row if math.isfinite(value)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)

    def cell(value: float) -> tuple[float, float] | None:
        if not math.isfinite(value):
            return None
        return value, (value - low) / (high - low) if high > low else 0.5

    shaded = [(name, [cell(value) for value in row]) for name, row in rows]
    return ShadedTable(title, row_heading, columns, shaded)
