"""Heartbeat of a run folder: the process that works in it, and whether that is alive."""

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock

from deepsal.atomic import write_text
from deepsal.runs.process import is_first_rank

SWEEP_VARIABLE = "DEEPSAL_SWEEP"
"""Environment variable with the sweep that a process works for, as `PID START`."""
BEAT_SECONDS = 1.0
TOUCH_SECONDS = 15.0
DEAD_SECONDS = 120.0
"""Age at which a heartbeat of another machine has stopped; network file systems are a minute late.
"""


class FolderInUseError(OSError):
    """Error of a run folder in which another process works."""


class Worker(NamedTuple):
    """Process that works in a run folder, as `worker.json` states it.

    host: name of its machine · pid: its number there · began: UTC · start: when the process began,
    in the clock of its kernel · machine: boot and process namespace, in which the number counts ·
    inode: of the folder, because a copy of the folder has no worker.
    """

    host: str
    pid: int
    began: str
    start: str
    machine: str
    inode: int


def read_worker(folder: Path) -> Worker | None:
    """Return the process that works, or died while it worked, in a run folder; None without one."""
    try:
        worker = Worker(**json.loads((folder / "worker.json").read_text(encoding="utf-8")))
        return worker if worker.inode == folder.stat().st_ino else None
    except (OSError, ValueError, TypeError):
        return None


def is_alive(folder: Path) -> bool:
    """Return whether a process works in a run folder.

    On this machine the process is looked for. On another one its heartbeat is: the modification
    time of `worker.json`.
    """
    worker = read_worker(folder)
    if worker is None:
        return False
    if worker.machine == machine_identity():
        return process_is_alive(worker.pid, worker.start)
    with suppress(FileNotFoundError):
        return time.time() - (folder / "worker.json").stat().st_mtime < DEAD_SECONDS
    return False


def refuse_used(folder: Path) -> None:
    """Raise an error that names the process that works in a run folder, if there is one.

    Raises:
        FolderInUseError: a process works in the folder.
    """
    if (worker := read_worker(folder)) and is_alive(folder):
        raise FolderInUseError(
            f"process {worker.pid} on {worker.host} works in {folder} since {worker.began}; "
            "wait for its end, or set hydra.run.dir to another folder"
        )


@contextmanager
def hold_folder(folder: Path) -> Iterator[None]:
    """State in a run folder that this process works in it, as long as the block runs.

    Only the first rank does. A process whose sweep has died ends itself by SIGTERM.

    Raises:
        FolderInUseError: another process works in the folder.
    """
    if not is_first_rank() or not os.access(folder, os.W_OK):
        yield
        return
    worker = Worker(
        socket.gethostname(),
        os.getpid(),
        datetime.now(UTC).isoformat(timespec="seconds"),
        process_start(os.getpid()),
        machine_identity(),
        folder.stat().st_ino,
    )
    file, ended = folder / "worker.json", threading.Event()
    with FileLock(folder / ".worker.lock"):  # the check and the entry are one step
        refuse_used(folder)
        write_text(file, json.dumps(worker._asdict()) + "\n")
    beat = threading.Thread(target=_beat, args=(file, ended), daemon=True)
    beat.start()
    try:
        yield
    finally:
        ended.set()
        beat.join()
        file.unlink(missing_ok=True)


def machine_identity() -> str:
    """Return what identifies this machine, since it was booted, and its container."""
    parts = [socket.gethostname()]
    with suppress(OSError):  # only on Linux
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)


def process_is_alive(pid: int, start: str) -> bool:
    """Return whether the process that began then is alive; True where that cannot be read."""
    return process_start(pid) in {start, "unknown"}


def process_start(pid: int) -> str:
    """Return when a process of this machine began, "" if it has ended.

    The text is the kernel's number of clock ticks, or `unknown` where it cannot be read.
    """
    try:
        state, *fields = (
            Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        )
        return "" if state in "ZX" else fields[18]
    except (OSError, ValueError, IndexError):
        pass
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "unknown"


def sweep_identity() -> str:
    """Return the value of `SWEEP_VARIABLE` for this process."""
    return f"{os.getpid()} {process_start(os.getpid())}"


def sweep_is_dead() -> bool:
    """Return whether the sweep that this process works for has ended without ending its jobs."""
    pid, _, start = os.environ.get(SWEEP_VARIABLE, "").partition(" ")
    return bool(pid) and not process_is_alive(int(pid), start)


def _beat(file: Path, ended: threading.Event) -> None:
    touched = time.monotonic()
    while not ended.wait(BEAT_SECONDS):
        if time.monotonic() > touched + TOUCH_SECONDS:
            touched = time.monotonic()
            with suppress(OSError):  # the next beat may succeed
                os.utime(file)
        if sweep_is_dead():
            os.kill(os.getpid(), signal.SIGTERM)
            return
