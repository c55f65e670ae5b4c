"""Process of a run: its environment, its warnings and its rank."""

import ctypes
import getpass
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from deepsal.terminal import print_ascii_where_needed

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

PLAIN_ERRORS = (ValueError, OSError, FloatingPointError, ImportError, MemoryError)
"""Errors that are printed without a traceback: their message is enough."""


def root_cause(error: BaseException, wrapper: type[BaseException]) -> BaseException:
    """Return the first cause of an error that is not of the wrapper's type."""
    while isinstance(error, wrapper) and error.__cause__:
        error = error.__cause__
    return error


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


def is_first_rank() -> bool:
    """Return whether this process is the first of its job, which alone writes shared files."""
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"):
        if value := os.environ.get(name):
            return int(value) == 0
    return True


def configure_process() -> None:
    """Silence warnings that need no action, keep freed memory, and print on any terminal.

    A user without an entry in /etc/passwd, as in a container, gets a name, which torch looks up.

    Page faults of memory that is returned and taken again slow a training on a CPU.
    """
    print_ascii_where_needed()
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["USER"] = str(os.getuid())
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
