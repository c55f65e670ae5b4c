"""Finished trainings that a verdict compares: other seeds, and controls."""

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from deepsal.models import backbone_from_checkpoint
from deepsal.models.backbone import Backbone

BEST_CHECKPOINT = "checkpoints/best.ckpt"
SAME_CONDITIONS = ("backbone", "weights", "data", "depth")
"""What a training must share with the one that is judged, besides `control` and `seed`."""
TUNED = "tuned"
"""Name of trainings on the true fixations."""


class FinishedTraining(NamedTuple):
    """Backbone of a finished training; control: `tuned`, or the name of what it learnt instead."""

    folder: Path
    control: str
    seed: int
    backbone: Backbone


def training_conditions(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what identifies a training, from the plain values of its `config.yaml`."""
    return {
        "backbone": config.get("backbone", {}).get("name"),
        "weights": config.get("backbone", {}).get("weights"),
        "data": config.get("data", {}).get("name"),
        "depth": config.get("finetune", {}).get("depth"),
        "seed": config.get("seed"),
        "control": config.get("control") or TUNED,
    }


def load_trainings(
    folders: Sequence[str | Path],
    before: Backbone,
    run: Mapping[str, Any],
    option: str = "claims.controls",
) -> list[FinishedTraining]:
    """Load the best checkpoints of run folders, each checked against the training that is judged.

    Args:
        folders: run folders. The folder of a sweep stands for those of its trainings that share
            the conditions of the one that is judged, except that one.
        before: the backbone before training.
        run: conditions of the training that is judged, see `training_conditions`.
        option: that names the folders, for the errors.

    Raises:
        FileNotFoundError: a folder without `config.yaml` or `checkpoints/best.ckpt`.
        ValueError: another backbone, data set or depth; or a sweep without such a training.
    """
    trainings = []
    for folder in chain.from_iterable(
        _run_folders(Path(folder), run, option) for folder in folders
    ):
        for name in ("config.yaml", BEST_CHECKPOINT):
            if not (folder / name).is_file():
                raise FileNotFoundError(
                    f"{option}: {folder} has no {name}; give the folder of a finished "
                    "training (do=[fit]), or of a sweep"
                )
        conditions = _read_conditions(folder)
        for key in SAME_CONDITIONS:
            if key in run and conditions[key] != run[key]:
                raise ValueError(
                    f"{option}: {folder} was trained with {key}={conditions[key]}, the "
                    f"network that is judged with {key}={run[key]}; train the control alike"
                )
        backbone = backbone_from_checkpoint(before, folder / BEST_CHECKPOINT)
        trainings.append(
            FinishedTraining(folder, conditions["control"], int(conditions["seed"]), backbone)
        )
    return trainings


def _run_folders(folder: Path, run: Mapping[str, Any], option: str) -> list[Path]:
    """Return a run folder itself, or the run folders of a sweep that a verdict can compare."""
    finished = sorted(file.parents[1] for file in folder.glob(f"*/{BEST_CHECKPOINT}"))
    if (folder / BEST_CHECKPOINT).is_file() or not finished:
        return [folder]
    compared = []
    for job in finished:
        conditions = _read_conditions(job)
        judged = conditions["control"] == TUNED and conditions["seed"] == run.get("seed")
        if not judged and all(conditions[key] == run[key] for key in SAME_CONDITIONS if key in run):
            compared.append(job)
    if not compared:
        shared = ", ".join(f"{key}={run.get(key)}" for key in SAME_CONDITIONS)
        raise ValueError(f"{option}: {folder} has no other training with {shared}")
    return compared


def _read_conditions(folder: Path) -> dict[str, Any]:
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    return training_conditions(config)


def group_by_control(
    trainings: Sequence[FinishedTraining], own: FinishedTraining
) -> dict[str, list[FinishedTraining]]:
    """Return trainings by control, each in the order of the seeds of `tuned`.

    Args:
        trainings: other seeds, and controls.
        own: the training that is judged, the first seed of `tuned`.

    Raises:
        ValueError: the same control and seed twice, or a control has not the seeds of `tuned`.
    """
    groups: dict[str, dict[int, FinishedTraining]] = {TUNED: {own.seed: own}}
    for training in trainings:
        seeds = groups.setdefault(training.control, {})
        if training.seed in seeds:
            raise ValueError(
                f"claims.controls: {training.folder} and {seeds[training.seed].folder} are both "
                f"{training.control} with seed={training.seed}; give one of them"
            )
        seeds[training.seed] = training
    tuned = [*groups[TUNED]]
    for control, seeds in groups.items():
        missing, surplus = sorted({*tuned} - {*seeds}), sorted({*seeds} - {*tuned})
        if missing:
            raise ValueError(
                f"claims.controls: {control} has no training with seed={missing[0]}; add "
                f"the folder of `python run.py do=[fit] control={control} seed={missing[0]} …`"
            )
        if surplus:
            raise ValueError(
                f"claims.controls: {control} has seed={surplus[0]}, the tuned networks have "
                f"{tuned}; add the folder of the training on fixations with seed={surplus[0]}"
            )
    return {control: [seeds[seed] for seed in tuned] for control, seeds in groups.items()}
