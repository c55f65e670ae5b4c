"""Run folders as reports read them: options, status, duration, logged numbers, scores."""

import json
import math
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pandas as pd
import yaml

from deepsal.runs import score_files
from deepsal.vocabulary import DEPTHS, MEASURES


def read_options(folder: Path) -> dict[str, Any]:
    """Return a run's `config.yaml`, {} where it has none."""
    file = folder / "config.yaml"
    found = yaml.safe_load(file.read_text()) if file.is_file() else None
    return found if isinstance(found, dict) else {}


def read_status(folder: Path) -> str:
    """Return how a run ended, in its own words."""
    file = folder / "status"
    return file.read_text().strip() if file.is_file() else "unknown"


def run_duration(folder: Path) -> str | None:
    """Return how long a run took, from its start to when it said how it ended."""
    begun = _read_json(folder / "origin.json").get("started")
    file = folder / "status"
    if not isinstance(begun, str) or not file.is_file() or read_status(folder) == "running":
        return None
    return format_duration(file.stat().st_mtime - datetime.fromisoformat(begun).timestamp())


def format_duration(seconds: float) -> str | None:
    """Say a duration in its two largest units.

    >>> format_duration(59.4), format_duration(754.0), format_duration(7384.0)
    ('59 s', '12 min 34 s', '2 h 3 min')
    """
    if seconds < 0:
        return None
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _read_json(file: Path) -> dict[str, Any]:
    found = json.loads(file.read_text()) if file.is_file() else {}
    return found if isinstance(found, dict) else {}


def read_metrics_csv(folder: Path) -> pd.DataFrame:
    """Return a run's `metrics.csv`, empty where there is none or it holds nothing."""
    file = folder / "metrics.csv"
    if not file.is_file() or not file.stat().st_size:
        return pd.DataFrame({"epoch": [], "step": []})
    return pd.read_csv(file)


REDUNDANT_OPTIONS = (
    "task.",
    "callbacks.",
    "logger.",
    "names.",
    "rf.folder",
    "claims.folder",
    "trainer.default",
)
"""Options that repeat others, or name the run's own folder."""


class RunSummary(NamedTuple):
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


def find_runs(folder: Path) -> list[RunSummary]:
    """Return the runs below a folder, job 10 after job 9."""
    places = [file.parent for file in folder.rglob("status") if is_run_folder(file.parent)]
    return [read_run(place, folder) for place in sorted(places, key=_folder_order)]


def list_depths(jobs: Sequence[RunSummary]) -> list[str]:
    """Return the depths of runs, from nothing learns to everything does."""
    return sorted(
        dict.fromkeys(_option_text(job, "finetune.name") for job in jobs), key=_depth_order
    )


def mean_with_interval(
    jobs: Sequence[RunSummary], backbone: str, depth: str, score: str
) -> tuple[float, float, float]:
    """Return the mean over the runs of a backbone and depth; the interval over images of one run.

    Several runs (seeds) have no interval here: NaN.
    """
    runs = [
        job.scores[score]
        for job in jobs
        if _backbone_and_depth(job) == (backbone, depth) and job.scores
    ]
    mean = sum(run["mean"] for run in runs) / len(runs) if runs else math.nan
    return (mean, runs[0]["low"], runs[0]["high"]) if len(runs) == 1 else (mean, math.nan, math.nan)


def read_run(folder: Path, root: Path) -> RunSummary:
    """Read one run folder; names and addresses are from `root`."""
    means = (
        score_files.read_scores(folder)["scores"].get("run", {})
        if _has_file(folder, "scores.json")
        else {}
    )
    address = Path(os.path.relpath(folder / "report.html", root)).as_posix()
    return RunSummary(
        Path(os.path.relpath(folder, root)).as_posix(),
        quote(address)
        if _has_file(folder, "report.html") or read_status(folder) == "done"
        else None,
        read_status(folder),
        run_duration(folder),
        {
            key: value
            for key, value in _flatten(read_options(folder)).items()
            if _describes_run(key, value, folder)
        },
        means,
        _last_field_measures(folder),
    )


def _last_field_measures(folder: Path) -> dict[str, dict[str, float]]:
    """Return the last logged value of each measure of each stage."""
    table = read_metrics_csv(folder)
    fields: dict[str, dict[str, float]] = {}
    for column in table.columns:
        parts = column.split("/")
        values = table[column].dropna()
        if len(parts) == 3 and parts[0] == "rf" and parts[2] in MEASURES and len(values):
            fields.setdefault(parts[2], {})[parts[1]] = float(values.iloc[-1])
    return fields


def _describes_run(key: str, value: Any, folder: Path) -> bool:
    own = key in ("name", "output_dir") or folder.name in str(value)
    nested = key.startswith(("network.backbone.", "network.decoder."))
    return not own and not nested and not key.startswith(REDUNDANT_OPTIONS)


def _flatten(node: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(node, dict):
        return {path: node}
    flat: dict[str, Any] = {}
    for key, value in node.items():
        flat |= _flatten(value, f"{path}.{key}" if path else str(key))
    return flat


def _option_text(job: RunSummary, key: str) -> str:
    return str(job.options.get(key, ""))


def _backbone_and_depth(job: RunSummary) -> tuple[str, str]:
    return _option_text(job, "backbone.name"), _option_text(job, "finetune.name")


def _depth_order(name: str) -> tuple[int, str]:
    return (DEPTHS.index(name) if name in DEPTHS else len(DEPTHS), name)


def is_run_folder(folder: Path) -> bool:
    """Tell a run's folder, also of one that failed before it wrote its configuration."""
    return _has_file(folder, "config.yaml") or (folder / ".hydra").is_dir()


def _has_file(folder: Path, name: str) -> bool:
    return (folder / name).is_file()


def _folder_order(place: Path) -> tuple[str, int, str]:
    number = place.name.split("-")[0]
    return str(place.parent), int(number) if number.isdigit() else -1, place.name
