"""Texts about runs for a terminal of 80 columns."""

import math
import re
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from textwrap import wrap
from typing import Any

from rich.filesize import decimal

from deepsal.runs.option_ranges import as_typed
from deepsal.runs.paths import BEST_CHECKPOINT
from deepsal.runs.run_list import differing_options, folder_bytes
from deepsal.runs.run_records import (
    RunRecord,
    RunScore,
    read_json,
    read_overrides,
    run_duration,
)
from deepsal.vocabulary import SCORES, TARGET_SCORES

WIDTH = 80
OPTION_LINES = 2
AGE_UNITS = {"d": 86400, "h": 3600, "min": 60, "s": 1}


def run_lines(records: Sequence[RunRecord], score: str) -> list[str]:
    """Return the lines of a list of runs: folder; state, score, data set and age; options.

    The options are those that the run's command line set and in which the runs differ, in at most
    two lines.

    Args:
        records: the runs.
        score: the score that is shown.
    """
    lines = []
    for record, options in zip(records, differing_options(records), strict=True):
        value = format_run_score(record.scores.get(score))
        named = f"{score} {value}" if score in record.scores else value
        facts = f"  {record.state:12}{named:16}"
        facts += f"{record.data:11} {format_age(time.time() - record.started):>6}  "
        settings = [
            shortened(setting_text(key, value), WIDTH - 4)
            for key, value in options.items()
            if {key, f"{key}.name"} & record.named and key not in {"data", "tested"}
        ]
        lines += [str(record.folder), facts.rstrip()]
        lines += wrap(
            " ".join(settings),
            WIDTH,
            initial_indent="    ",
            subsequent_indent="    ",
            break_on_hyphens=False,
            break_long_words=False,
            max_lines=OPTION_LINES,
            placeholder=" …",
        )
        lines += [f"  {shortened(record.reason, WIDTH - 2)}"] if record.reason else []
    return lines


def setting_text(option: str, value: Any) -> str:
    """Return an option as it is typed; the best checkpoint of a run is the name of its folder.

    >>> setting_text("ckpt", "/runs/a-s0/checkpoints/best.ckpt"), setting_text("ckpt", None)
    ('ckpt=a-s0', 'ckpt=null')
    """
    text = as_typed(value)
    if option == "ckpt" and text.endswith(f"/{BEST_CHECKPOINT}"):
        text = Path(text).parent.parent.name
    return f"{option}={text}"


def run_values(record: RunRecord, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run as plain values, for JSON.

    Args:
        record: of the run.
        options: those to include.
    """
    return {
        "folder": str(record.folder.absolute()),
        "state": record.state,
        "reason": record.reason,
        "started": datetime.fromtimestamp(record.started, UTC).isoformat(timespec="seconds"),
        "data": record.data,
        "tested": record.tested,
        "scores": {name: score._asdict() for name, score in record.scores.items()},
        "has_checkpoint": record.has_checkpoint,
        "options": dict(options),
    }


def describe_run(record: RunRecord) -> dict[str, Any]:
    """Return all that a run folder states about a run, as plain values."""
    folder, origin = record.folder, read_json(record.folder / "origin.json")
    files = sorted((folder / "checkpoints").glob("*.ckpt"))
    return run_values(record, record.options) | {
        "overrides": read_overrides(folder) or [],
        "command": origin.get("command"),
        "commit": origin.get("commit"),
        "dirty": origin.get("dirty"),
        "duration": run_duration(folder),
        "machine": origin.get("processor"),
        "gpus": origin.get("gpus"),
        "checkpoints": [
            {"file": str(file), "bytes": file.stat().st_size, "changed": file.stat().st_mtime}
            for file in files
        ],
    }


def description_lines(record: RunRecord) -> list[str]:
    """Return the lines that describe one run."""
    about = describe_run(record)
    commit = str(about["commit"] or "unknown")[:10] + " with changes" * bool(about["dirty"])
    times = [about["started"], f"took {about['duration']}" if about["duration"] else None]
    machine = [about["machine"], *(about["gpus"] or [])]
    facts = {
        "state": f"{record.state}: {record.reason}" if record.reason else record.state,
        "data": record.tested or record.data,
        "options": " ".join(filter(None, about["overrides"])) or "the defaults",
        "command": " ".join(about["command"] or []),
        "commit": commit,
        "time": ", ".join(filter(None, times)),
        "machine": ", ".join(filter(None, machine)),
    }
    lines = [str(record.folder)]
    for label, text in facts.items():
        first, *rest = wrap(text, WIDTH - 13, break_on_hyphens=False) or [""]
        lines += [f"  {label:11}{first}".rstrip(), *(f"{'':13}{each}" for each in rest)]
    entries = SCORES | TARGET_SCORES
    for name, score in record.scores.items():
        label = entries[name].label
        interval = "" if math.isnan(score.low) else f"  [{score.low:.3f}, {score.high:.3f}]"
        lines.append(f"  {label:15}{score.mean:8.3f}{interval}  {score.split}")
    for file in about["checkpoints"]:
        age = format_age(time.time() - file["changed"])
        lines.append(f"  {Path(file['file']).name:20}{decimal(file['bytes']):>10}  {age} old")
    return lines


def removal_lines(records: Sequence[RunRecord]) -> list[str]:
    """Return the lines that list runs with their sizes, before they are removed."""
    lines = []
    for record in records:
        note = "  has a checkpoint" if record.has_checkpoint else ""
        size = decimal(folder_bytes(record.folder))
        lines += [str(record.folder), f"  {record.state:12}{size:>10}{note}"]
    return lines


def format_run_score(score: RunScore | None) -> str:
    """Return a score with the split that it is of, or a dash.

    >>> format_run_score(RunScore(2.96874, 2.7, 3.1, "test"))
    '2.969 test'
    """
    return f"{score.mean:.3f} {score.split}" if score else "–"


def format_age(seconds: float) -> str:
    """Return a time in its largest unit.

    >>> format_age(59.9), format_age(7300.0), format_age(2e5)
    ('59 s', '2 h', '2 d')
    """
    unit = next((name for name, size in AGE_UNITS.items() if seconds >= size), "s")
    return f"{max(0, int(seconds // AGE_UNITS[unit]))} {unit}"


def parse_since(text: str, now: float) -> float:
    """Return the time that a date or an age states, in seconds since 1970.

    Args:
        text: `2026-11-20`, with a time or not, in local time; or an age such as `2d`.
        now: in seconds since 1970.

    Raises:
        ValueError: neither of them.

    >>> parse_since("2d", 180000.0), parse_since("1970-01-02T00:00+00:00", 0.0)
    (7200.0, 86400.0)
    """
    if age := re.fullmatch(rf"(\d+) ?({'|'.join(AGE_UNITS)})", text):
        return now - int(age[1]) * AGE_UNITS[age[2]]
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise ValueError(
            f"--since {text}: set a date such as 2026-11-20, or an age such as 2d, 12h or 30min"
        ) from None


def shortened(text: str, width: int) -> str:
    """Return the first characters of a text in one line.

    >>> shortened("a long reason", 8)
    'a long …'
    """
    line = " ".join(text.split())
    return line if len(line) <= width else f"{line[: width - 1]}…"
