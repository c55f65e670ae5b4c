"""Run folders as data of the reports: options, status, duration, logged numbers and scores."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pandas as pd

from deepsal.runs.folder import read_status
from deepsal.runs.paths import flat_options
from deepsal.runs.run_records import (
    UNREADABLE_ERRORS,
    describe_checkpoint,
    describes_run,
    is_run_folder,
    read_json,
    read_options,
    run_duration,
    warn_unreadable,
)
from deepsal.vocabulary import DEPTHS, MEASURES


def read_metrics_csv(folder: Path) -> pd.DataFrame:
    """Return a run's `metrics.csv`; an empty table where the run logged nothing."""
    file = folder / "metrics.csv"
    if not file.is_file() or not file.stat().st_size:
        return pd.DataFrame({"epoch": [], "step": []})
    return pd.read_csv(file)


def field_files(folder: Path) -> list[Path]:
    """Return a run's files of stored fields, one per checkpoint, in order; [] without any."""
    return sorted((folder / "fields").glob("epoch=*.npz"), key=lambda file: int(file.stem[6:]))


class RunSummary(NamedTuple):
    """One run among others.

    name: path of its folder, relative to the common folder · page: URL of its page, which a run
    writes right after it is done, or None · status: content of its `status` · duration: such as
    `2 h 3 min`, or None · options: `{dotted key: value}` · scores: `{score: mean, low, high,
    count}` · fields: `{measure: {stage: median over units}}` at the last checkpoint.
    """

    name: str
    page: str | None
    status: str
    duration: str | None
    options: dict[str, Any]
    scores: dict[str, dict[str, float]]
    fields: dict[str, dict[str, float]]

    @property
    def backbone(self) -> str:
        """Name of the backbone and of the control, if any: tables do not average over controls."""
        names = self.options.get("backbone.name"), self.options.get("control")
        return "-".join(str(name) for name in names if name)

    @property
    def depth(self) -> str:
        """First stage that learns."""
        return str(self.options.get("finetune.name", ""))


def find_runs(folder: Path) -> list[RunSummary]:
    """Return the runs below a folder, job 10 after job 9; an unreadable one is a warning."""
    folders = [file.parent for file in folder.rglob("status") if is_run_folder(file.parent)]
    runs = []
    for run in sorted(folders, key=_folder_order):
        try:
            runs.append(read_run(run, folder))
        except UNREADABLE_ERRORS as error:
            warn_unreadable(run, error)
    return runs


def read_run(folder: Path, root: Path) -> RunSummary:
    """Read one run folder.

    Args:
        folder: the run folder.
        root: folder from which the name and the URL start.
    """
    status = read_status(folder) or "unknown"
    has_page = (folder / "report.html").is_file() or status == "done"
    options = flat_options(describe_checkpoint(read_options(folder)))
    return RunSummary(
        name=_relative_path(folder, root),
        page=quote(_relative_path(folder / "report.html", root)) if has_page else None,
        status=status,
        duration=run_duration(folder),
        options={k: v for k, v in options.items() if describes_run(k, v, options)},
        scores=read_json(folder / "scores.json").get("scores", {}).get("run", {}),
        fields=_last_field_measures(folder),
    )


def list_depths(runs: Sequence[RunSummary]) -> list[str]:
    """Return the depths of runs, from `none` (nothing learns) to `all`."""
    return sorted({run.depth for run in runs}, key=depth_order)


def depth_order(depth: str) -> tuple[int, str]:
    """Return a sort key of depths; names outside `DEPTHS` come last."""
    return (DEPTHS.index(depth) if depth in DEPTHS else len(DEPTHS), depth)


def mean_score(
    runs: Sequence[RunSummary], backbone: str, depth: str, score: str
) -> tuple[float, float, float]:
    """Return the mean score of the runs of a backbone and a depth, and its interval.

    Returns:
        Mean, low end, high end. The interval is over the images of one run; for several runs
        (seeds) or none it is NaN.
    """
    values = [
        run.scores[score]
        for run in runs
        if (run.backbone, run.depth) == (backbone, depth) and score in run.scores
    ]
    ends = (values[0]["low"], values[0]["high"]) if len(values) == 1 else (math.nan, math.nan)
    return finite_mean([value["mean"] for value in values]), *ends


def finite_mean(values: Sequence[float]) -> float:
    """Return the mean of the finite values; NaN without one.

    >>> finite_mean([1.0, float("nan"), 2.0])
    1.5
    """
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else math.nan


def _last_field_measures(folder: Path) -> dict[str, dict[str, float]]:
    table = read_metrics_csv(folder)
    fields: dict[str, dict[str, float]] = {}
    for column in table.columns:
        parts = column.split("/")
        values = table[column].dropna()
        if len(parts) == 3 and parts[0] == "rf" and parts[2] in MEASURES and len(values):
            fields.setdefault(parts[2], {})[parts[1]] = float(values.iloc[-1])
    return fields


def _relative_path(path: Path, root: Path) -> str:
    return Path(os.path.relpath(path, root)).as_posix()


def _folder_order(folder: Path) -> tuple[str, int, str]:
    number = folder.name.split("-")[0]
    return str(folder.parent), int(number) if number.isdigit() else -1, folder.name
