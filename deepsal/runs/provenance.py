"""Provenance of a run: code, packages, machine and options."""

import json
import logging
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

LOG = logging.getLogger(__name__)


def prepare_folder(folder: Path, script: Path, overrides: Sequence[str]) -> None:
    """Check that a run folder can be written to, and write the provenance of `script` into it.

    An error of the provenance is a warning, because it must not stop a run.
    """
    check_folder_writable(folder)
    try:
        write_provenance(folder, script.parent, overrides)
    except Exception as error:
        LOG.warning("the record of code and machine is not complete (%s)", error)


def write_provenance(folder: Path, code: Path, overrides: Sequence[str]) -> None:
    """Write `origin.json`, `changes.diff`, `requirements.txt` and `overrides.txt`.

    Args:
        folder: the run folder.
        code: the checkout that runs; outside git the commit is null.
        overrides: options of the command line.
    """
    (folder / "overrides.txt").write_bytes(os.fsencode("\n".join(overrides) + "\n"))
    commit = _git_output(code, "rev-parse", "HEAD")
    changes = _git_output(code, "diff", "HEAD") or b""
    (folder / "changes.diff").write_bytes(changes)
    about: dict[str, Any] = {
        "commit": commit.decode().strip() if commit else None,
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
    (folder / "origin.json").write_text(json.dumps(about, indent=1), encoding="utf-8")
    (folder / "requirements.txt").write_text("\n".join(packages) + "\n", encoding="utf-8")


def read_commit(folder: Path) -> str | None:
    """Return the commit that a run folder's `origin.json` states; None without one."""
    file = folder / "origin.json"
    commit = json.loads(file.read_text(encoding="utf-8"))["commit"] if file.is_file() else None
    return str(commit) if commit else None


def _git_output(code: Path, *command: str) -> bytes | None:
    try:
        done = subprocess.run(["git", "-C", str(code), *command], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout


def cpu_name() -> str:
    """Return the CPU's model name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text("utf-8", "replace").splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _usable_cores() -> Sequence[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return range(os.cpu_count() or 1)
