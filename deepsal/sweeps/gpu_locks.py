"""Locks on the GPUs of a machine without a queue, so that each serves one job at a time."""

import getpass
import os
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from deepsal.hardware import visible_gpus

DEVICES_VARIABLE = "DEEPSAL_DEVICES"
"""Environment variable with the devices of a sweep, as in CUDA_VISIBLE_DEVICES, or `all`."""


def save_visible_devices() -> None:
    """Save CUDA_VISIBLE_DEVICES for the jobs of this process, from which submitit hides it."""
    os.environ[DEVICES_VARIABLE] = os.environ.get("CUDA_VISIBLE_DEVICES", "all")


def restore_visible_devices() -> None:
    """Restore CUDA_VISIBLE_DEVICES in a job that submitit started."""
    os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get(DEVICES_VARIABLE, "all")
    if os.environ["CUDA_VISIBLE_DEVICES"] == "all":
        del os.environ["CUDA_VISIBLE_DEVICES"]


def visible_devices() -> str:
    """Return the devices that this process may use, such as `0,1`."""
    devices = os.environ.get("CUDA_VISIBLE_DEVICES")
    return ",".join(map(str, range(len(visible_gpus())))) if devices is None else devices


@contextmanager
def lock_devices(
    accelerator: str, devices: int | str | Sequence[int], folder: Path | None = None
) -> Iterator[dict[str, str]]:
    """Wait until enough devices are free, and lock them.

    On a machine without a GPU, or with `accelerator=cpu`, one job runs at a time.

    Args:
        accelerator: of the trainer.
        devices: how many devices, or which, as `trainer.devices`; -1 and `auto` are all.
        folder: of the locks; default: one for all sweeps of this user on this machine.

    Yields:
        The variables with which a process sees only the locked devices.

    Raises:
        ValueError: more devices are asked for than are visible.
    """
    names = [name for name in visible_devices().split(",") if name]
    if accelerator == "cpu" or not names:
        names, devices = ["cpu"], 1
    count = len(devices) if isinstance(devices, Sequence) and devices != "auto" else devices
    count = len(names) if count in {-1, "auto"} else int(count)
    if count > len(names):
        raise ValueError(f"trainer.devices={devices}: the visible devices are {','.join(names)}")
    folder = folder or Path(tempfile.gettempdir()) / f"deepsal-devices-{getpass.getuser()}"
    folder.mkdir(exist_ok=True)
    while True:
        with ExitStack() as locks:
            locked: list[str] = []
            for name in names:
                if len(locked) < count and _acquire_lock(locks, folder, name):
                    locked.append(name)
            if len(locked) == count:
                yield {"CUDA_VISIBLE_DEVICES": "" if locked == ["cpu"] else ",".join(locked)}
                return
        time.sleep(random.uniform(0.1, 0.5))  # all or none: no job holds some and waits for others


def _acquire_lock(locks: ExitStack, folder: Path, name: str) -> bool:
    try:
        locks.enter_context(FileLock(folder / f"{name}.lock").acquire(timeout=0))
    except Timeout:
        return False
    return True
