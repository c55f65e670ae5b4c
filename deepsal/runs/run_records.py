"""Files of a run folder as plain values: options, times, scores and state."""

import csv
import json
import math
import warnings
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

from deepsal.runs.folder import read_status
from deepsal.runs.heartbeat import is_alive
from deepsal.runs.paths import flat_options
from deepsal.runs.resume import read_config
from deepsal.runs.trained import overridden_option
from deepsal.vocabulary import SCORES, TARGET_SCORES, VALIDATION_METRICS

REDUNDANT_OPTIONS = (
    "task.",
    "callbacks.",
    "logger.",
    "names.",
    "rf.folder",
    "claims.folder",
    "data.control",
    "data.test",
    "trainer.default",
    "network.backbone.",
    "network.decoder.",
)
"""Starts of options that repeat others, or name the run's own folder."""
LATER_STEPS = ("claims", "v1", "export")
"""Steps with options of their own, which describe no run without the step."""
TRAINED_NETWORK = ("backbone.", "decoder.", "finetune.", "loss.", "optim.")
"""Starts of options that describe no baseline."""

UNREADABLE_ERRORS = (OSError, ValueError, KeyError, TypeError, AttributeError)
"""Errors of reading a run folder whose files are damaged, foreign or forbidden."""
RunState = Literal["running", "done", "failed", "interrupted", "preempted"]


class RunScore(NamedTuple):
    """Score of a run: the mean of its test with its interval, or that of its best validation.

    low, high: NaN without an interval · split: `test` or `val`.
    """

    mean: float
    low: float
    high: float
    split: str


class RunRecord(NamedTuple):
    """One run among others.

    folder: its path · state: see `read_state` · reason: of a failure, otherwise "" · started: in
    seconds since 1970 · options: `{dotted name: value}` without those that repeat others · named:
    those that its command line set · data: choice of the data set to test on · tested: name of the
    data set that was tested, "" without a test · scores: by name, in the order of tables ·
    has_checkpoint: whether it has a best one.
    """

    folder: Path
    state: RunState
    reason: str
    started: float
    options: dict[str, Any]
    named: frozenset[str]
    data: str
    tested: str
    scores: dict[str, RunScore]
    has_checkpoint: bool


def read_run_record(folder: Path) -> RunRecord:
    """Read a run folder.

    Raises:
        ValueError: a file of the run is damaged.
    """
    state, reason = read_state(folder)
    config = read_options(folder)
    options = flat_options({**describe_checkpoint(config), "ckpt": config.get("ckpt")})
    described = {k: v for k, v in options.items() if describes_run(k, v, options)}
    if "network.name" in options and "network.backbone.name" not in options:
        described = {k: v for k, v in described.items() if not k.startswith(TRAINED_NETWORK)}
    tested, test_scores = read_test_scores(folder)
    scores = read_validation_scores(folder, str(options.get("metric", ""))) | test_scores
    return RunRecord(
        folder=folder,
        state=state,
        reason=reason,
        started=start_time(folder),
        options=described,
        named=named_options(described, read_overrides(folder)),
        data=str(options.get("tested.name") or options.get("data.name", "")),
        tested=tested,
        scores={name: scores[name] for name in SCORES | TARGET_SCORES if name in scores},
        has_checkpoint=(folder / "checkpoints" / "best.ckpt").is_file(),
    )


def warn_unreadable(folder: Path, error: Exception) -> None:
    """Warn that a run folder among others is left out."""
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    warnings.warn(f"{folder} is unreadable and left out ({reason})", stacklevel=3)


def is_run_folder(folder: Path) -> bool:
    """Return whether a folder is a run's; a run that failed early has only its `status`."""
    return (folder / "config.yaml").is_file() or read_status(folder).startswith("failed: ")


def read_state(folder: Path) -> tuple[RunState, str]:
    """Return the state of a run and the reason of its failure.

    A run with a living process is `running`. Without one and without an end it is `interrupted`: it
    can be resumed. A `preempted` run waits to be resumed by its cluster.
    """
    if is_alive(folder):
        return "running", ""
    status, _, reason = read_status(folder).partition(": ")
    if status == "done":
        return "done", ""
    if status == "failed":
        return "failed", reason
    return ("preempted" if status == "preempted" else "interrupted"), ""


def read_json(file: Path) -> dict[str, Any]:
    """Return the object of a JSON file; {} without the file."""
    content = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return content if isinstance(content, dict) else {}


def read_options(folder: Path) -> dict[str, Any]:
    """Return a run's `config.yaml`; {} without one."""
    file = folder / "config.yaml"
    return read_config(file) if file.is_file() else {}


def read_overrides(folder: Path) -> list[str] | None:
    """Return the overrides of a run's command line; None if they were not recorded."""
    file = folder / "overrides.txt"
    return file.read_text(encoding="utf-8").split("\n")[:-1] if file.is_file() else None


def named_options(options: Collection[str], overrides: Sequence[str] | None) -> frozenset[str]:
    """Return the options that a command line set; all of them if it is unknown.

    >>> sorted(named_options(["seed", "data.name", "data.size"], ["data=osie", "logger=csv"]))
    ['data.name']
    """
    if overrides is None:
        return frozenset(options)
    keys = {overridden_option(each) for each in overrides}
    inside = tuple(f"{key}." for key in keys if "." in key)
    return frozenset(
        option
        for option in options
        if {option, option.removesuffix(".name")} & keys or option.startswith(inside)
    )


def describe_checkpoint(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a run; of one that only tested a checkpoint, those of its training."""
    trained = options.get("trained")
    if not trained:
        return options
    described = {"seed": trained["seed"], "trained": {"dataset": trained["dataset"]}}
    return {**options, **described, "ckpt": None}


def describes_run(key: str, value: Any, options: Mapping[str, Any]) -> bool:
    """Return whether an option is the run's own choice, and no path in the folder it began in."""
    folder = options.get("output_dir")
    inside = folder is not None and f"{value}/".startswith(f"{folder}/")
    unused = tuple(f"{step}." for step in LATER_STEPS if step not in options.get("do", ()))
    return key != "name" and not inside and not key.startswith(REDUNDANT_OPTIONS + unused)


def read_test_scores(folder: Path) -> tuple[str, dict[str, RunScore]]:
    """Return the name of the tested data set and the means of the test; "" and {} without one."""
    summary = read_json(folder / "scores.json")
    means = summary.get("scores", {}).get("run", {})
    scores = {
        name: RunScore(value["mean"], value["low"], value["high"], "test")
        for name, value in means.items()
    }
    return str(summary.get("dataset", "")), scores


def read_validation_scores(folder: Path, metric: str) -> dict[str, RunScore]:
    """Return the validation scores of the best epoch that `metrics.csv` holds; {} without any.

    Args:
        folder: the run folder.
        metric: chooses the best epoch, such as `val/nss`.
    """
    file, name = folder / "metrics.csv", metric.removeprefix("val/")
    if not file.is_file() or name not in VALIDATION_METRICS:
        return {}
    with file.open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row.get(metric)]
    if not rows:
        return {}
    choose = max if VALIDATION_METRICS[name] == "max" else min
    best = choose(rows, key=lambda row: float(row[metric]))
    return {
        score: RunScore(float(best[f"val/{score}"]), math.nan, math.nan, "val")
        for score in VALIDATION_METRICS
        if score in SCORES and best.get(f"val/{score}")
    }


def start_time(folder: Path) -> float:
    """Return when a run began, in seconds since 1970; without a record the folder's last change."""
    start = read_json(folder / "origin.json").get("started")
    return datetime.fromisoformat(start).timestamp() if start else folder.stat().st_mtime


def run_duration(folder: Path) -> str | None:
    """Return the time from a run's start to its last status or heartbeat; None while it runs."""
    start = read_json(folder / "origin.json").get("started")
    if not isinstance(start, str) or read_status(folder) in {"", "running"}:
        return None
    files = (folder / "status", folder / "worker.json")
    end = max(file.stat().st_mtime for file in files if file.is_file())
    return format_duration(end - datetime.fromisoformat(start).timestamp())


def format_duration(seconds: float) -> str | None:
    """Format a duration in its two largest units; None for a negative one.

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


def score_direction(score: str) -> str:
    """Return the better direction of a score, `max` or `min`.

    Raises:
        ValueError: no such score; the message lists them.

    >>> score_direction("kl")
    'min'
    """
    entries = SCORES | TARGET_SCORES
    if score not in entries:
        raise ValueError(f"no score {score!r}; the scores are {', '.join(entries)}")
    return entries[score].direction
