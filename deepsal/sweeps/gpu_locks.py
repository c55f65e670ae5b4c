"""The devices of a machine without a queue, lent to one job at a time."""

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
"""The devices a sweep may use, as CUDA_VISIBLE_DEVICES has them; `all` if it is not set."""


def save_visible_devices() -> None:
    """Keep the choice of devices for the jobs of this process: submitit hides all from them."""
    os.environ[DEVICES_VARIABLE] = os.environ.get("CUDA_VISIBLE_DEVICES", "all")


def restore_visible_devices() -> None:
    """Make the devices visible again in a job that submitit started."""
    os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get(DEVICES_VARIABLE, "all")
    if os.environ["CUDA_VISIBLE_DEVICES"] == "all":
        del os.environ["CUDA_VISIBLE_DEVICES"]


def visible_devices() -> str:
    """Return the devices this process may use, such as `0,1`: those chosen, or all."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    return ",".join(map(str, range(len(visible_gpus())))) if chosen is None else chosen


@contextmanager
def lock_devices(
    accelerator: str, wanted: int | str | Sequence[int], folder: Path | None = None
) -> Iterator[dict[str, str]]:
    """Wait until enough devices are free; yield the variables that let a process see only them.

    On a machine without a GPU, or with `accelerator=cpu`, one job runs at a time.

    Args:
        accelerator: of the trainer.
        wanted: how many devices, or which, as `trainer.devices`; -1 and `auto` are all.
        folder: of the locks; default: one for all sweeps of this user on this machine.

    Raises:
        ValueError: so many are not visible.
    """
    names = [name for name in visible_devices().split(",") if name]
    if accelerator == "cpu" or not names:
        names, wanted = ["cpu"], 1
    count = len(wanted) if isinstance(wanted, Sequence) and wanted != "auto" else wanted
    count = len(names) if count in {-1, "auto"} else int(count)
    if count > len(names):
        raise ValueError(f"trainer.devices={wanted}: the visible devices are {','.join(names)}")
    folder = folder or Path(tempfile.gettempdir()) / f"deepsal-devices-{getpass.getuser()}"
    folder.mkdir(exist_ok=True)
    while True:
        with ExitStack() as held:
            mine: list[str] = []
            for name in names:
                if len(mine) < count and _acquire_lock(held, folder, name):
                    mine.append(name)
            if len(mine) == count:
                yield {"CUDA_VISIBLE_DEVICES": "" if mine == ["cpu"] else ",".join(mine)}
                return
        time.sleep(random.uniform(0.1, 0.5))  # all or none: two jobs never wait for each other


def _acquire_lock(held: ExitStack, folder: Path, name: str) -> bool:
    try:
        held.enter_context(FileLock(folder / f"{name}.lock").acquire(timeout=0))
    except Timeout:
        return False
    return True
