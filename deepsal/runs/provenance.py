"""Provenance of a run: code, packages, machine and options."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from deepsal.hardware import torch_build, visible_gpus
from deepsal.runs.folder import check_folder_writable


def prepare_folder(folder: Path, script: Path, overrides: Sequence[str]) -> None:
    """Check that a run folder can be written to, and write the provenance of `script` into it."""
    check_folder_writable(folder)
    write_provenance(folder, script.parent, overrides)


def write_provenance(folder: Path, code: Path, overrides: Sequence[str]) -> None:
    """Write `origin.json`, `changes.diff`, `requirements.txt` and `overrides.txt`.

    Args:
        folder: the run folder.
        code: the checkout that runs; outside git the commit is null.
        overrides: options of the command line.
    """
    commit = _git_output(code, "rev-parse", "HEAD")
    changes = _git_output(code, "diff", "HEAD")
    about: dict[str, Any] = {
        "commit": commit.strip() if commit else None,
        "dirty": bool(changes),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "python": platform.python_version(),
        "torch": torch_build()["__version__"],
        "machine": platform.platform(),
        "processor": cpu_name(),
        "cores": len(_usable_cores()),
        "gpus": [gpu.name for gpu in visible_gpus()],
    }
    packages = sorted({f"{d.metadata['Name']}=={d.version}" for d in distributions()})
    (folder / "origin.json").write_text(json.dumps(about, indent=1))
    (folder / "changes.diff").write_text(changes or "")
    (folder / "requirements.txt").write_text("\n".join(packages) + "\n")
    (folder / "overrides.txt").write_text("\n".join(overrides) + "\n")


def _git_output(code: Path, *command: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(code), *command], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout


def cpu_name() -> str:
    """Return the CPU's model name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _usable_cores() -> Sequence[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return range(os.cpu_count() or 1)
