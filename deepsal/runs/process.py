"""The process a job runs in: what it inherits, how it behaves, which rank it is."""

import ctypes
import os
import sys
import warnings
from collections.abc import Mapping

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
SILENCED_WARNINGS = (
    ".isinstance.treespec, LeafSpec.",  # github.com/Lightning-AI/pytorch-lightning/issues/21326
    "The number of training batches",
    ".*does not have many workers",
    "Found .* module.* in eval mode",  # frozen stages
    ".*multiple `ModelCheckpoint` callbacks",
    "Checkpoint directory .* exists and is not empty",  # a continued run
    "You're resuming from a checkpoint that ended before",  # `Loader` goes on in the middle
    "The `srun` command is available",  # on a cluster's login node
    "The dirpath has changed from",  # a checkpoint of another folder is tested
)


def fresh_environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a fresh process: without what a training leaves behind.

    >>> fresh_environment({"HOME": "/root", "LOCAL_RANK": "0", "MASTER_PORT": "1"})
    {'HOME': '/root'}
    """
    return {name: value for name, value in variables.items() if name not in RANK_VARIABLES}


def is_first_rank() -> bool:
    """Say whether this process is the first of its job: it alone writes what all share."""
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"):
        if value := os.environ.get(name):
            return int(value) == 0
    return True


def configure_process() -> None:
    """Silence what needs no attention; keep freed memory, whose page faults slow a CPU training."""
    for message in SILENCED_WARNINGS:
        warnings.filterwarnings("ignore", message=message)
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        m_trim_threshold, m_mmap_max = -1, -4
        if hasattr(libc, "mallopt"):
            libc.mallopt(m_mmap_max, 0)
            libc.mallopt(m_trim_threshold, 2**31 - 1)
