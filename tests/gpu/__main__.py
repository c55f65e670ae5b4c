"""python -m tests.gpu [--small] [--to FOLDER]: run all checks and print one table."""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from deepsal.atomic import write_text
from deepsal.hardware import visible_gpus
from tests.bench.harness import ROOT, about
from tests.gpu.checks import Check, every, on_gpu, small


def main() -> int:
    """Run the checks; return 1 if one failed."""
    parser = argparse.ArgumentParser(description="The checks of a machine with an NVIDIA GPU.")
    parser.add_argument("--small", action="store_true", help="seconds of each, on the processor")
    folder = ROOT / "runs" / "bench"
    parser.add_argument("--to", type=Path, default=folder, help="folder of gpu.json (runs/bench)")
    options = parser.parse_args()
    setting = small() if options.small else on_gpu()
    if setting.device == "cuda" and not visible_gpus():
        parser.error("no NVIDIA GPU here (nvidia-smi lists none); --small runs on the processor")
    console, began = Console(width=80, highlight=False), time.monotonic()
    checks: list[Check] = []
    with tempfile.TemporaryDirectory(prefix="deepsal-gpu-") as scratch:
        for check in every(setting, Path(scratch)):
            checks.append(check)
            file = record(checks, setting.device, options.to)  # whatever ends this process later
            ended = "" if check.passed else f"FAILED {check.note}"
            line = f"{time.monotonic() - began:4.0f} s  {check.name}  {value(check)} {ended}"
            console.print(line.rstrip(), markup=False, soft_wrap=True)
    console.print(table(checks))
    console.print(f"{file} has them all")
    return int(not all(check.passed for check in checks))


def record(checks: list[Check], device: str, folder: Path) -> Path:
    """Write `gpu.json`: card, versions, commit and all checks."""
    cards = [gpu._asdict() for gpu in visible_gpus()] if device == "cuda" else []
    rows = [{**check._asdict(), "passed": check.passed} for check in checks]
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**about(), "cards": cards, "device": device, "checks": rows}, indent=1)
    return write_text(folder / "gpu.json", text)


def table(checks: list[Check]) -> Table:
    """Return the checks as a table of 80 columns."""
    card = visible_gpus()[0].name if visible_gpus() else "the processor"
    rows = Table(title=f"deepsal on {card}", box=SIMPLE, padding=0, pad_edge=False)
    rows.title_justify = "left"
    rows.add_column("check", overflow="fold")
    for column in ("value", "bar", ""):
        rows.add_column(column, justify="right", no_wrap=True)
    for check in checks:
        low, high = check.at_least, check.at_most
        bar = f"≥ {low:g}" if low is not None else f"≤ {high:g}" if high is not None else ""
        rows.add_row(check.name, value(check), bar, "ok" if check.passed else "FAILED")
        if check.note:
            rows.add_row(escape(f"  {check.note.splitlines()[-1]}"))
    return rows


def value(check: Check) -> str:
    """Return what is printed of a value; a run that only had to end has none."""
    return "" if check.value is None else f"{check.value:.3g}"


if __name__ == "__main__":
    sys.exit(main())
