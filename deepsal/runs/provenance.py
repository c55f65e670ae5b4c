"""Where a run's numbers come from: code, packages, machine, options."""

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from deepsal.hardware import torch_build, visible_gpus

MIN_FREE_BYTES = 1 << 30


def check_folder_writable(folder: Path) -> None:
    """Make sure, before any work, that the run folder can take a run's files.

    Raises:
        PermissionError: it cannot be written to.
        OSError: less than 1 GiB is free.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".writable").touch()
        (folder / ".writable").unlink()
    except OSError as error:
        raise PermissionError(
            f"the run folder {folder} cannot be written to ({error.strerror}); "
            "set hydra.run.dir=FOLDER"
        ) from error
    free = shutil.disk_usage(folder).free
    if free < MIN_FREE_BYTES:
        raise OSError(
            f"only {free / 2**20:.0f} MiB are free at {folder}, a run needs 1 GiB; "
            "free some space or set hydra.run.dir=FOLDER"
        )


def write_provenance(folder: Path, code: Path, overrides: Sequence[str]) -> None:
    """Write `origin.json`, `changes.diff`, `requirements.txt` and `overrides.txt`.

    Args:
        folder: the run folder.
        code: the checkout that runs; outside git the commit is null.
        overrides: the command line's options.
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
