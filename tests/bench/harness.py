import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from deepsal.report.origin import processor

ROOT = Path(__file__).parents[2]
PACKAGES = ("torch", "torchvision", "pytorch-lightning", "captum")
Row = dict[str, Any]


def side_by_side(
    name: str,
    ours: Callable[[], object],
    reference: Callable[[], object],
    reference_is: str,
    repeats: int = 3,
    scale: float = 1.0,
    **more: Any,
) -> Row:
    """Time both in turn, after one unmeasured round each, and return medians and their ratio.

    A reference that does only 1/`scale` of the work has its time multiplied by `scale`.
    """
    seconds: dict[str, list[float]] = {"ours": [], "reference": []}
    for measured in [False] + [True] * repeats:
        for which, run in (("ours", ours), ("reference", reference)):
            began = time.perf_counter()
            run()
            if measured:
                seconds[which].append(time.perf_counter() - began)
    mine, other = (statistics.median(seconds[which]) for which in ("ours", "reference"))
    other *= scale
    row = {"name": name, "ours_s": mine, "reference_s": other, "ratio": other / mine}
    return {**row, "reference": reference_is, "repeats": repeats, "scale": scale, **more}


def report(rows: list[Row], file: Path, console: Console | None = None) -> None:
    """Append rows, with hardware and versions, to a JSON list and print them."""
    about = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "machine": f"{processor()}, {len(os.sched_getaffinity(0))} cores",
        "threads": torch.get_num_threads(),
        "versions": {package: version(package) for package in PACKAGES},
    }
    old = json.loads(file.read_text()) if file.is_file() else []
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps([*old, *({**row, **about} for row in rows)], indent=1))
    os.replace(partial, file)
    table = Table(box=SIMPLE, title=_title(about), title_justify="left")
    for column in ("benchmark", "ours (s)", "reference (s)", "ratio", "reference"):
        words = column in {"benchmark", "reference"}
        table.add_column(column, justify="left" if words else "right", overflow="fold")
    for row in rows:
        cells = f"{row['ours_s']:.2f}", f"{row['reference_s']:.2f}", f"{row['ratio']:.2f}x"
        table.add_row(row["name"], *cells, row["reference"])
    (console or Console()).print(table)


def _title(about: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{package} {number}" for package, number in about["versions"].items())
    return f"{about['machine']}, {about['threads']} threads\n{versions}"


def _commit() -> str:
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"
