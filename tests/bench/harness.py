import ctypes
import gc
import json
import math
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

from deepsal.runs.provenance import cpu_name

ROOT = Path(__file__).parents[2]
PACKAGES = ("torch", "torchvision", "pytorch-lightning", "captum")
COLUMNS = ("ours s", "ref. s", "ratio", "ours MB", "ref. MB", "diff.")
Row = dict[str, Any]


def side_by_side(
    name: str,
    ours: Callable[[], Any],
    reference: Callable[[], Any],
    reference_is: str,
    repeats: int = 3,
    scale: float = 1.0,
    difference: Callable[[Any, Any], float] | None = None,
    **more: Any,
) -> Row:
    """Time both in turn, and return medians, their ratio and the peaks of memory.

    One round before is not timed: it gives the peaks and the `difference` of the two results.
    A reference that does only 1/`scale` of the work has its time multiplied by `scale`.
    """
    (one, my_peak), (other, other_peak) = peak_memory(ours), peak_memory(reference)
    row: Row = {"name": name, "ours_peak_mb": my_peak, "reference_peak_mb": other_peak}
    if difference:
        row["max_rel_diff"] = difference(one, other)
    del one, other
    seconds: dict[str, list[float]] = {"ours": [], "reference": []}
    for _ in range(repeats):
        for which, run in (("ours", ours), ("reference", reference)):
            began = time.perf_counter()
            run()
            seconds[which].append(time.perf_counter() - began)
    mine, theirs = (statistics.median(seconds[which]) for which in ("ours", "reference"))
    row |= {"ours_s": mine, "reference_s": theirs * scale, "ratio": theirs * scale / mine}
    row |= {"reference": reference_is, "repeats": repeats, "scale": scale, **more}
    Console().print(f"{name}: {row['ratio']:.2f}x")
    return row


def peak_memory(run: Callable[[], Any]) -> tuple[Any, float]:
    """Return what `run` returns, and its peak of resident memory in MB; NaN off Linux."""
    status, reset = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not reset.exists():
        return run(), math.nan

    def read(key: str) -> int:
        line = next(x for x in status.read_text().splitlines() if x.startswith(key))
        return int(line.split()[1])

    gc.collect()
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)
    before = read("VmRSS")
    reset.write_text("5")
    result = run()
    return result, (read("VmHWM") - before) / 1024


def keep(row: Row, file: Path) -> None:
    """Append a row, with hardware and versions, to a JSON list."""
    old = json.loads(file.read_text()) if file.is_file() else []
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps([*old, {**row, **about()}], indent=1))
    os.replace(partial, file)


def about() -> dict[str, Any]:
    """Return date, commit, machine and versions."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "machine": f"{cpu_name()}, {len(os.sched_getaffinity(0))} cores",
        "threads": torch.get_num_threads(),
        "versions": {package: version(package) for package in PACKAGES},
    }


def show(rows: list[Row], console: Console | None = None) -> None:
    """Print rows as a table."""
    table = Table(
        box=SIMPLE, title=_title(about()), title_justify="left", padding=0, pad_edge=False
    )
    table.add_column("benchmark", no_wrap=True)
    for column in COLUMNS:
        table.add_column(column, justify="right")
    for row in rows:
        times = f"{row['ours_s']:.2f}", f"{row['reference_s']:.2f}", f"{row['ratio']:.2f}x"
        peaks = f"{row['ours_peak_mb']:.0f}", f"{row['reference_peak_mb']:.0f}"
        apart = f"{row['max_rel_diff']:.0e}" if "max_rel_diff" in row else ""
        table.add_row(row["name"], *times, *peaks, apart)
    console = console or Console(highlight=False)
    console.print(table)
    console.print("The reference, per benchmark:")
    for row in rows:
        console.print(f"  {row['name']}: {row['reference']}", soft_wrap=True)


def _title(about: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{package} {number}" for package, number in about["versions"].items())
    return f"{about['machine']}, {about['threads']} threads\n{versions}"


def _commit() -> str:
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"
