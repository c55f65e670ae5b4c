"""Hyperparameter search with Optuna: its direction, its database and its folders."""

from collections.abc import Sequence
from pathlib import Path

from deepsal.vocabulary import VALIDATION_METRICS

TRIAL_PREFIX_VARIABLE = "DEEPSAL_TRIALS"
"""Environment variable with the prefix of the names of run folders."""


def optuna_direction(metric: str) -> str:
    """Return the direction of a search that optimises a metric.

    >>> optuna_direction("val/nss"), optuna_direction("val/kl")
    ('maximize', 'minimize')
    """
    return f"{VALIDATION_METRICS.get(metric.removeprefix('val/'), 'max')}imize"


def optuna_storage(folder: str) -> str:
    """Return the address of a search's database; create its folder, which Hydra does later.

    Args:
        folder: of the sweep.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{folder}/optuna.db"


RESOLVERS = (optuna_direction, optuna_storage)
"""Functions that configurations call by their names."""


def trial_folder_prefix(arguments: Sequence[str]) -> str:
    """Return the prefix of the trials' folders: a resumed search counts its jobs from 0 again.

    Args:
        arguments: of the command line.
    """
    folder = next((a.partition("=")[2] for a in arguments if a.startswith("hydra.sweep.dir=")), "")
    if not folder or "hydra/sweeper=search" not in arguments:
        return ""
    before = len([*Path(folder).glob("*/config.yaml")])
    return f"after{before}-" if before else ""
