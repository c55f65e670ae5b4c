"""Process of a run: its environment, its warnings and its rank."""

import atexit
import ctypes
import gc
import getpass
import os
import re
import signal
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType, MappingProxyType
from typing import Any

from deepsal.terminal import PLAIN_ERRORS, print_ascii_where_needed

RANK_VARIABLES = (
    "LOCAL_RANK",
    "NODE_RANK",
    "GROUP_RANK",
    "RANK",
    "WORLD_SIZE",
    "LOCAL_WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "TORCHELASTIC_RUN_ID",
    "PL_GLOBAL_SEED",
    "PL_SEED_WORKERS",
)
"""Variables that a distributed training sets and a new training must not inherit."""
SILENCED_WARNINGS = (
    ".isinstance.treespec, LeafSpec.",  # github.com/Lightning-AI/pytorch-lightning/issues/21326
    "The number of training batches",
    ".*does not have many workers",
    "Found .* module.* in eval mode",  # frozen stages
    ".*multiple `ModelCheckpoint` callbacks",
    "Checkpoint directory .* exists and is not empty",  # a resumed run
    "You're resuming from a checkpoint that ended before",  # `DeviceLoader` resumes inside an epoch
    "The `srun` command is available",  # on a cluster's login node
    "The dirpath has changed from",  # a checkpoint of another folder is tested
)

LEAVING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals of a person, a machine or a terminal that ends this process."""


def one_line(error: BaseException) -> str:
    """Return the type and the message of an error.

    >>> one_line(ValueError("metric=val/bleu"))
    'ValueError: metric=val/bleu'
    >>> one_line(Exception("Missing mandatory value: backbone.name"))
    'ValueError: backbone.name is missing; set backbone.name=VALUE'
    """
    text = " ".join(str(error).split()).removesuffix(" object_type=dict")
    if missing := re.search(r"Missing mandatory value: ([\w.]+)", text):
        return f"ValueError: {missing[1]} is missing; set {missing[1]}=VALUE"
    return f"{type(error).__name__}: {text}"


def root_cause(error: BaseException, wrapper: type[BaseException]) -> BaseException:
    """Return the first cause of an error that is not of the wrapper's type."""
    while isinstance(error, wrapper) and error.__cause__:
        error = error.__cause__
    return error


@contextmanager
def plain_errors(
    wrapper: type[BaseException], options: Mapping[str, str] = MappingProxyType({})
) -> Iterator[None]:
    """Turn any error of objects that are built from options into one of `PLAIN_ERRORS`.

    Args:
        wrapper: type of the errors whose cause is meant; the cause stays the error's `__cause__`.
        options: `{place of an object: option}` where that option, and not `data.dataset`, sets it.

    Raises:
        ValueError: an error of another type, which its name precedes.
    """
    try:
        yield
    except PLAIN_ERRORS:
        raise
    except Exception as error:
        cause = root_cause(error, wrapper)
        (place,) = re.findall(r"^full_key: (.+)$", str(error), re.MULTILINE)[-1:] or [""]
        option = options.get(place, place)
        if isinstance(cause, PLAIN_ERRORS):
            if option == place:
                raise cause from None
            raise type(cause)(str(cause).replace("data.dataset", option)) from None
        start = f"{option}: " if option else ""
        raise ValueError(f"{start}{one_line(cause)}") from cause


def fresh_environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without `RANK_VARIABLES`, for a process of its own.

    >>> fresh_environment({"HOME": "/root", "LOCAL_RANK": "0", "MASTER_PORT": "1"})
    {'HOME': '/root'}
    """
    return {name: value for name, value in variables.items() if name not in RANK_VARIABLES}


@contextmanager
def job_environment(changes: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Give this process the environment of a new job, and restore the old one at the end.

    Args:
        changes: variables to set.

    Yields:
        The environment for a child process: the old one without `RANK_VARIABLES`, with the changes.
    """
    before = dict(os.environ)
    variables = fresh_environment(before) | dict(changes)
    try:
        _replace_environment(variables)
        yield variables
    finally:
        _replace_environment(before)


def forget_stale_ranks(trainer: Mapping[str, Any]) -> None:
    """Remove `RANK_VARIABLES` that an earlier training left in this process's environment.

    Those of this training state as many processes as it has.

    Args:
        trainer: its options `devices` and `num_nodes`.
    """
    devices, nodes = trainer.get("devices", 1), trainer.get("num_nodes", 1)
    count = len(devices) if isinstance(devices, list) else devices
    known = nodes == 1 and str(count).isdecimal()
    if known and (str(count) == "1" or os.environ.get("WORLD_SIZE") != str(count)):
        _replace_environment(fresh_environment(os.environ))


def is_first_rank() -> bool:
    """Return whether this process is the first of its job, which alone writes shared files."""
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"):
        if value := os.environ.get(name):
            return int(value) == 0
    return True


def configure_process() -> None:
    """Silence warnings, keep freed memory, print on any terminal, and leave in order on a signal.

    A user without an entry in /etc/passwd, as in a container, gets a name, which torch looks up.

    Page faults of memory that is returned and taken again slow a training on a CPU. A signal that
    the parent process ignores, as `nohup` does, is ignored.
    """
    print_ascii_where_needed()
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["USER"] = str(os.getuid())
    atexit.register(gc.freeze)  # to collect torch's objects at the end takes a second and a half
    for number in LEAVING_SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _leave)
    for message in SILENCED_WARNINGS:
        warnings.filterwarnings("ignore", message=message)
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        m_trim_threshold, m_mmap_max = -1, -4
        if hasattr(libc, "mallopt"):
            libc.mallopt(m_mmap_max, 0)
            libc.mallopt(m_trim_threshold, 2**31 - 1)


def _replace_environment(variables: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(variables)


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)  # the exit code of a shell's process that a signal ended
