"""What a search adds to a sweep: a direction, and new folders when it goes on."""

from collections.abc import Sequence
from pathlib import Path

from deepsal.vocabulary import VALIDATION_METRICS

TRIAL_PREFIX_VARIABLE = "DEEPSAL_TRIALS"
"""What the names of run folders begin with."""


def optuna_direction(metric: str) -> str:
    """Return what a search does with a metric.

    >>> optuna_direction("val/nss"), optuna_direction("val/kl")
    ('maximize', 'minimize')
    """
    return f"{VALIDATION_METRICS.get(metric.removeprefix('val/'), 'max')}imize"


def trial_folder_prefix(arguments: Sequence[str]) -> str:
    """Return what the folders of these trials begin with: jobs are counted from 0 each time.

    Args:
        arguments: of the command line.
    """
    folder = next((a.partition("=")[2] for a in arguments if a.startswith("hydra.sweep.dir=")), "")
    if not folder or "hydra/sweeper=search" not in arguments:
        return ""
    before = len([*Path(folder).glob("*/config.yaml")])
    return f"after{before}-" if before else ""
