"""One HTML file per sweep, or of any set of runs: what differs, what they scored, what changed."""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from deepsal import atomic
from deepsal.report.page.header import options, status, took
from deepsal.report.page.rendering import render
from deepsal.report.page.training_curves import logged
from deepsal.runs import score_files
from deepsal.vocabulary import DEPTHS, LOWER, MEASURES, SCORES

ECHOES = "task.", "callbacks.", "logger.", "names.", "rf.folder", "probe.folder", "trainer.default"
"""Options that repeat others, or name the run's own folder."""


class Job(NamedTuple):
    """A run beside others.

    name: of its folder, from the common one · page: address of its page, which a run writes right
    after it is done, or None · status: how it ended · options: `{dotted key: value}` · scores:
    `{score: mean, low, high, count}` · fields: `{measure: {stage: median}}` at the last checkpoint.
    """

    name: str
    page: str | None
    status: str
    took: str | None
    options: dict[str, Any]
    scores: dict[str, dict[str, float]]
    fields: dict[str, dict[str, float]]


class Heat(NamedTuple):
    """A table of numbers with shades from 0 to 1; None where there is no number."""

    title: str
    corner: str
    columns: list[str]
    rows: list[tuple[str, list[tuple[float, float] | None]]]

    def spoken(self, value: float) -> str:
        """Say a number with as many digits as all numbers of the table."""
        largest = max(abs(cell[0]) for _, row in self.rows for cell in row if cell)
        return f"{value:.{1 if largest >= 10 else 2}f}".replace("-", "−")


def write(folder: Path) -> Path:
    """Write `report.html` about the runs below a folder.

    Raises:
        FileNotFoundError: there is no run below it.
    """
    jobs = found(folder)
    if not jobs:
        raise FileNotFoundError(f"{folder} holds no run folders (config.yaml beside status)")
    columns = differences([job.options for job in jobs])
    data = {
        "folder": folder.absolute().name,
        "jobs": jobs,
        "columns": [*columns],
        "cells": [[values[i] for values in columns.values()] for i in range(len(jobs))],
        "score_names": {k: v for k, v in SCORES.items() if any(k in job.scores for job in jobs)},
        "lower": LOWER,
        "heats": heats(jobs, labels(jobs, columns)),
        "unfinished": [job for job in jobs if job.status != "done"],
    }
    return atomic.write_text(folder / "report.html", render("sweep.html", data))


def found(folder: Path) -> list[Job]:
    """Return the runs below a folder, job 10 after job 9."""
    places = [file.parent for file in folder.rglob("status") if is_run(file.parent)]
    return [job(place, folder) for place in sorted(places, key=_order)]


def differences(options: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return the options in which runs differ, `{option: value of each run}`.

    A group's other options are left out where its name says what they are.

    >>> one = {"backbone.name": "vgg16", "backbone.model": "vgg16", "seed": 0, "metric": "val/nss"}
    >>> differences([one, {**one, "seed": 1}])
    {'seed': ['0', '1']}
    >>> differences([one, {**one, "backbone.name": "alexnet", "backbone.model": "alexnet"}])
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


def labels(jobs: Sequence[Job], columns: Mapping[str, Sequence[str]]) -> list[str]:
    """Return what tells runs apart in a few words: their options, or where these do not, names."""
    said = [" · ".join(values[i] for values in columns.values()) for i in range(len(jobs))]
    return said if len(set(said)) == len(said) else [job.name for job in jobs]


def heats(jobs: Sequence[Job], labels: Sequence[str]) -> list[Heat]:
    """Return backbone × depth where both vary, and each field measure, runs × stages."""
    tables = []
    backbones = [*dict.fromkeys(_of(job, "backbone.name") for job in jobs)]
    known = depths(jobs)
    if len(backbones) > 1 and len(known) > 1:
        for score, name in SCORES.items():
            cells = [
                (b, [_mean([j.scores for j in jobs if _place(j) == (b, d)], score) for d in known])
                for b in backbones
            ]
            tables.append(_shaded(f"Test {name}: backbone × depth", "backbone", known, cells))
    both = zip(jobs, labels, strict=True)
    ordered = sorted(both, key=lambda b: (_place(b[0])[0], _depth(_place(b[0])[1])))
    for measure, title in MEASURES.items():
        stages = [*dict.fromkeys(s for job in jobs for s in job.fields.get(measure, {}))]
        rows = [
            (label, [job.fields[measure].get(stage, math.nan) for stage in stages])
            for job, label in ordered
            if measure in job.fields
        ]
        name = f"{title[:1].upper()}{title[1:]}, median over units at the end"
        tables.append(_shaded(name, "run, by backbone and depth", stages, rows))
    return [table for table in tables if any(cell for _, row in table.rows for cell in row)]


def depths(jobs: Sequence[Job]) -> list[str]:
    """Return the depths of runs, from nothing learns to everything does."""
    return sorted(dict.fromkeys(_of(job, "finetune.name") for job in jobs), key=_depth)


def mean_interval(
    jobs: Sequence[Job], backbone: str, depth: str, score: str
) -> tuple[float, float, float]:
    """Return the mean over the runs of a backbone and depth; the interval over images of one run.

    Several runs (seeds) have no interval here: NaN.
    """
    runs = [job.scores[score] for job in jobs if _place(job) == (backbone, depth) and job.scores]
    mean = sum(run["mean"] for run in runs) / len(runs) if runs else math.nan
    return (mean, runs[0]["low"], runs[0]["high"]) if len(runs) == 1 else (mean, math.nan, math.nan)


def _shaded(
    title: str, corner: str, columns: list[str], rows: Sequence[tuple[str, list[float]]]
) -> Heat:
    known = [v for _, row in rows for v in row if math.isfinite(v)]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)

    def cell(value: float) -> tuple[float, float] | None:
        if not math.isfinite(value):
            return None
        return value, (value - low) / (high - low) if high > low else 0.5

    return Heat(title, corner, columns, [(name, [cell(v) for v in row]) for name, row in rows])


def job(folder: Path, root: Path) -> Job:
    """Read one run folder; names and addresses are from `root`."""
    means = score_files.read(folder)["scores"].get("run", {}) if _has(folder, "scores.json") else {}
    address = Path(os.path.relpath(folder / "report.html", root)).as_posix()
    return Job(
        Path(os.path.relpath(folder, root)).as_posix(),
        quote(address) if _has(folder, "report.html") or status(folder) == "done" else None,
        status(folder),
        took(folder),
        {
            key: value
            for key, value in _flat(options(folder)).items()
            if _telling(key, value, folder)
        },
        means,
        _fields(folder),
    )


def _fields(folder: Path) -> dict[str, dict[str, float]]:
    """Return the last logged value of each measure of each stage."""
    table = logged(folder)
    fields: dict[str, dict[str, float]] = {}
    for column in table.columns:
        parts = column.split("/")
        values = table[column].dropna()
        if len(parts) == 3 and parts[0] == "rf" and parts[2] in MEASURES and len(values):
            fields.setdefault(parts[2], {})[parts[1]] = float(values.iloc[-1])
    return fields


def _telling(key: str, value: Any, folder: Path) -> bool:
    own = key in ("name", "output_dir") or folder.name in str(value)
    nested = key.startswith(("network.backbone.", "network.decoder."))
    return not own and not nested and not key.startswith(ECHOES)


def _flat(node: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(node, dict):
        return {path: node}
    flat: dict[str, Any] = {}
    for key, value in node.items():
        flat |= _flat(value, f"{path}.{key}" if path else str(key))
    return flat


def _mean(found: Sequence[Mapping[str, Mapping[str, float]]], score: str) -> float:
    values = [means[score]["mean"] for means in found if score in means]
    return sum(values) / len(values) if values else math.nan


def _of(job: Job, key: str) -> str:
    return str(job.options.get(key, ""))


def _place(job: Job) -> tuple[str, str]:
    return _of(job, "backbone.name"), _of(job, "finetune.name")


def _depth(name: str) -> tuple[int, str]:
    return (DEPTHS.index(name) if name in DEPTHS else len(DEPTHS), name)


def is_run(folder: Path) -> bool:
    """Tell a run's folder, also of one that failed before it wrote its configuration."""
    return _has(folder, "config.yaml") or (folder / ".hydra").is_dir()


def _has(folder: Path, name: str) -> bool:
    return (folder / name).is_file()


def _order(place: Path) -> tuple[str, int, str]:
    number = place.name.split("-")[0]
    return str(place.parent), int(number) if number.isdigit() else -1, place.name
