"""Lists of run folders: chosen by options, sorted by a score, compared, removed."""

import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from deepsal.runs.heartbeat import is_alive
from deepsal.runs.run_names import run_folders
from deepsal.runs.run_records import (
    UNREADABLE_ERRORS,
    RunRecord,
    is_run_folder,
    read_run_record,
    read_state,
    score_direction,
    warn_unreadable,
)

PLACE_OPTIONS = (
    *("data_dir", "output_dir", "noise_pairs.", "size_tuning.", "export.", "trained."),
    *("claims.run.", "v1.run.", "v1.folder", "data.cache", "data.num_workers"),
    *("data.dataset.data_dir", "tested.dataset.data_dir"),
)
"""Starts of options that follow from others, or from the machine."""
FACTS = ("state", "data")
"""Conditions on what lists state of a run, not on its options."""


def list_runs(roots: Sequence[Path]) -> list[RunRecord]:
    """Return the runs in and below folders, oldest first; an unreadable one is a warning.

    Raises:
        FileNotFoundError: no such folder.
    """
    records: dict[Path, RunRecord] = {}
    for root in roots:
        if not root.is_dir():
            raise FileNotFoundError(f"{root} is no folder; name a folder with runs")
        for folder in filter(is_run_folder, run_folders(root)):
            try:
                record = read_run_record(folder)
            except UNREADABLE_ERRORS as error:
                warn_unreadable(folder, error)
                continue
            records.setdefault(folder.resolve(), record)
    return sorted(records.values(), key=lambda record: (record.started, str(record.folder)))


def chosen_runs(records: Sequence[RunRecord], conditions: str) -> list[RunRecord]:
    """Return the runs that meet conditions.

    Args:
        records: of runs.
        conditions: such as `data=osie,finetune=conv4,seed=[0,1],state=done`. A group's name stands
            for its choice; `data` is the data set to test on, as in lists, and `data.name` that of
            the training. A value is written as on the command line of `run.py`; a list of them in
            brackets is any of them.

    Raises:
        ValueError: a condition without `=`, or an option that no run has.
    """
    known = {key for record in records for key in record.options}
    for condition in split_conditions(conditions):
        key, equals, text = condition.partition("=")
        option = f"{key}.name" if f"{key}.name" in known else key
        if not equals or (records and key not in FACTS and option not in known):
            groups = {each.removesuffix(".name") for each in known} | {*FACTS}
            near = ", ".join(get_close_matches(key, sorted(groups), n=3))
            hint = f"no run has the option {key}{f'; the nearest: {near}' if near else ''}"
            raise ValueError(f"--where {condition}: {hint if equals else 'set OPTION=VALUE'}")
        value = _parsed(text)
        accepted = [*value, value] if isinstance(value, list) else [value]
        records = [
            record
            for record in records
            if (getattr(record, key) if key in FACTS else record.options.get(option)) in accepted
        ]
    return [*records]


def split_conditions(conditions: str) -> list[str]:
    """Return each of the conditions of `chosen_runs`.

    >>> split_conditions("data=osie,seed=[0,1]")
    ['data=osie', 'seed=[0,1]']
    """
    return [*filter(None, re.split(r",(?![^\[]*\])", conditions))]


def sorted_by_score(records: Iterable[RunRecord], score: str) -> list[RunRecord]:
    """Return runs from the best score to the worst, tested runs first; runs without it are last.

    Raises:
        ValueError: no such score.
    """
    sign = -1 if score_direction(score) == "max" else 1

    def order(record: RunRecord) -> tuple[bool, bool, float]:
        value = record.scores.get(score)
        return (
            (True, True, 0.0) if value is None else (False, value.split == "val", sign * value.mean)
        )

    return sorted(records, key=order)


def best_run(records: Sequence[RunRecord], score: str, conditions: str = "") -> RunRecord:
    """Return the finished training with the best score.

    Its test decides; if no run was tested, its validation. A run with `trainer=smoke` trains on two
    batches, and counts only if a condition names the trainer.

    Args:
        records: of runs.
        score: its name.
        conditions: that chose the runs, see `chosen_runs`.

    Raises:
        ValueError: no finished training has the score, or they were tested on several data sets.
    """
    with_smoke = any(
        condition.partition("=")[0] in {"trainer", "trainer.name"}
        for condition in split_conditions(conditions)
    )
    scored = [
        record
        for record in sorted_by_score(records, score)
        if record.state == "done" and record.has_checkpoint and score in record.scores
        if with_smoke or record.options.get("trainer.name") != "smoke"
    ]
    if not scored:
        raise ValueError(
            f"none of {len(records)} runs is a finished training with the score {score}; "
            "set --by to another score, name another folder, or set --where trainer=smoke for runs "
            "of two batches"
        )
    split = scored[0].scores[score].split
    datasets = {
        record.tested or record.data for record in scored if record.scores[score].split == split
    }
    if len(datasets) > 1:
        raise ValueError(
            f"scores on {' and '.join(sorted(datasets))} cannot be compared; choose one data set, "
            "such as --where data=NAME"
        )
    return scored[0]


def differing_options(records: Sequence[RunRecord]) -> list[dict[str, Any]]:
    """Return, for each run, the options that a command line set and in which the runs differ.

    A group that differs is one option, its choice. Another option of a group is there only if it
    differs between runs of one choice. The data set of the training is `data.name` where another
    one is tested.
    """
    options = [
        {key: value for key, value in record.options.items() if not key.startswith(PLACE_OPTIONS)}
        for record in records
        if record.options
    ]
    named = frozenset[str]().union(*(record.named for record in records))
    keys = dict.fromkeys(key for each in options for key in each if key in named)
    differing = [key for key in keys if _differs(key, options)]
    return [
        {
            listed_option(key, record): record.options[key]
            for key in differing
            if key in record.options
        }
        for record in records
    ]


def listed_option(key: str, record: RunRecord) -> str:
    """Return the name of an option in lists and conditions: that of its group for a choice."""
    other_data = key == "data.name" and record.options[key] != record.data
    return key if other_data else key.removesuffix(".name")


def removable_runs(records: Sequence[RunRecord]) -> list[RunRecord]:
    """Return the failed and the interrupted runs whose folders hold no other run's results."""
    ended = [record for record in records if is_removable(record.folder)]
    safe = {record.folder.resolve() for record in ended}
    return [
        record
        for record in ended
        if all(
            other.resolve() in safe
            for other in run_folders(record.folder)
            if other != record.folder and is_run_folder(other)
        )
    ]


def is_removable(folder: Path) -> bool:
    """Return whether a run failed or was interrupted, and nothing works in its folder now."""
    state, _ = read_state(folder)
    return state in {"failed", "interrupted"} and not (folder / "done").exists()


def remove_runs(records: Sequence[RunRecord]) -> list[RunRecord]:
    """Remove run folders, except those that a process has resumed; return the removed runs."""
    for record in records:
        folder = record.folder
        in_use = any(is_alive(each) for each in run_folders(folder))
        if folder.is_dir() and not in_use and is_removable(folder):
            shutil.rmtree(folder)
    return [record for record in records if not record.folder.exists()]


def folder_bytes(folder: Path) -> int:
    """Return the size of the files in a folder; links are not followed."""
    return sum(file.lstat().st_size for file in folder.rglob("*") if not file.is_dir())


def _parsed(text: str) -> Any:
    """Return the value of a text of a condition; YAML takes 1e-3 for a text.

    >>> _parsed("1e-3"), _parsed("null"), _parsed("[0,1]"), _parsed("osie")
    (0.001, None, [0, 1], 'osie')
    """
    value = yaml.safe_load(text)
    with suppress(ValueError):
        return float(value) if isinstance(value, str) else value
    return value


def _differs(key: str, options: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether an option differs between runs with the same choice of its group."""
    choice = f"{key.partition('.')[0]}.name"
    values: dict[str, set[str]] = {}
    for each in options:
        group = "" if key == choice else str(each.get(choice))
        values.setdefault(group, set()).add(repr(each.get(key)))
    return any(len(group) > 1 for group in values.values())
