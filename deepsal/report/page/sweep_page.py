"""One HTML file per sweep, or of any set of runs: what differs, what they scored, what changed."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from deepsal import atomic
from deepsal.report.page.rendering import render_template
from deepsal.report.run_folders import (
    RunSummary,
    _backbone_and_depth,
    _depth_order,
    _option_text,
    find_runs,
    list_depths,
)
from deepsal.vocabulary import MEASURES, SCORES


class ShadedTable(NamedTuple):
    """A table of numbers with shades from 0 to 1; None where there is no number."""

    title: str
    corner: str
    columns: list[str]
    rows: list[tuple[str, list[tuple[float, float] | None]]]

    def spoken(self, value: float) -> str:
        """Say a number with as many digits as all numbers of the table."""
        largest = max(abs(cell[0]) for _, row in self.rows for cell in row if cell)
        return f"{value:.{1 if largest >= 10 else 2}f}".replace("-", "−")


def write_sweep_page(folder: Path) -> Path:
    """Write `report.html` about the runs below a folder.

    Raises:
        FileNotFoundError: there is no run below it.
    """
    jobs = find_runs(folder)
    if not jobs:
        raise FileNotFoundError(f"{folder} holds no run folders (config.yaml beside status)")
    columns = differing_options([job.options for job in jobs])
    data = {
        "folder": folder.absolute().name,
        "jobs": jobs,
        "columns": [*columns],
        "cells": [[values[i] for values in columns.values()] for i in range(len(jobs))],
        "score_names": {k: v.label for k, v in SCORES.items() if any(k in j.scores for j in jobs)},
        "lower": [s for s, entry in SCORES.items() if entry.direction == "min"],
        "heats": shaded_tables(jobs, run_labels(jobs, columns)),
        "unfinished": [job for job in jobs if job.status != "done"],
    }
    return atomic.write_text(folder / "report.html", render_template("sweep.html", data))


def differing_options(options: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return the options in which runs differ, `{option: value of each run}`.

    A group's other options are left out where its name says what they are.

    >>> one = {"backbone.name": "vgg16", "backbone.model": "vgg16", "seed": 0, "metric": "val/nss"}
    >>> differing_options([one, {**one, "seed": 1}])
    {'seed': ['0', '1']}
    >>> differing_options([one, {**one, "backbone.name": "alexnet", "backbone.model": "alexnet"}])
    {'backbone': ['vgg16', 'alexnet']}
    """
    keys = dict.fromkeys(key for each in options for key in each)
    varying: dict[str, list[str]] = {}
    for key in keys:
        values = [str(each[key]) if key in each else "" for each in options]
        if len(set(values)) > 1:
            varying[key] = values
    kept: dict[str, list[str]] = {}
    for key, values in varying.items():
        names = varying.get(f"{key.split('.')[0]}.name")
        said = names is not None and len({*zip(names, values, strict=True)}) == len({*names})
        if key.endswith(".name") and key.count(".") == 1:
            kept[key.removesuffix(".name")] = values
        elif not said:
            kept[key] = values
    return kept


def run_labels(jobs: Sequence[RunSummary], columns: Mapping[str, Sequence[str]]) -> list[str]:
    """Return what tells runs apart in a few words: their options, or where these do not, names."""
    said = [" · ".join(values[i] for values in columns.values()) for i in range(len(jobs))]
    return said if len(set(said)) == len(said) else [job.name for job in jobs]


def shaded_tables(jobs: Sequence[RunSummary], labels: Sequence[str]) -> list[ShadedTable]:
    """Return backbone × depth where both vary, and each field measure, runs × stages."""
    tables = []
    backbones = [*dict.fromkeys(_option_text(job, "backbone.name") for job in jobs)]
    known = list_depths(jobs)
    if len(backbones) > 1 and len(known) > 1:
        for score, (name, *_) in SCORES.items():
            cells = [
                (
                    b,
                    [
                        _mean_score(
                            [j.scores for j in jobs if _backbone_and_depth(j) == (b, d)], score
                        )
                        for d in known
                    ],
                )
                for b in backbones
            ]
            tables.append(_shade_table(f"Test {name}: backbone × depth", "backbone", known, cells))
    both = zip(jobs, labels, strict=True)
    ordered = sorted(
        both,
        key=lambda b: (_backbone_and_depth(b[0])[0], _depth_order(_backbone_and_depth(b[0])[1])),
    )
    for measure, title in MEASURES.items():
        stages = [*dict.fromkeys(s for job in jobs for s in job.fields.get(measure, {}))]
        rows = [
            (label, [job.fields[measure].get(stage, math.nan) for stage in stages])
            for job, label in ordered
            if measure in job.fields
        ]
        name = f"{title[:1].upper()}{title[1:]}, median over units at the end"
        tables.append(_shade_table(name, "run, by backbone and depth", stages, rows))
    return [table for table in tables if any(cell for _, row in table.rows for cell in row)]


def _shade_table(
    title: str, corner: str, columns: list[str], rows: Sequence[tuple[str, list[float]]]
) -> ShadedTable:
    known = [v for _, row in rows for v in row if math.isfinite(v)]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)

    def cell(value: float) -> tuple[float, float] | None:
        if not math.isfinite(value):
            return None
        return value, (value - low) / (high - low) if high > low else 0.5

    return ShadedTable(
        title, corner, columns, [(name, [cell(v) for v in row]) for name, row in rows]
    )


def _mean_score(found: Sequence[Mapping[str, Mapping[str, float]]], score: str) -> float:
    values = [means[score]["mean"] for means in found if score in means]
    return sum(values) / len(values) if values else math.nan
