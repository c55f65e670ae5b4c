"""Resuming of a run: its configuration and its newest undamaged checkpoint."""

import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from deepsal.runs import folder as run_folder
from deepsal.runs.heartbeat import hold_folder
from deepsal.runs.option_ranges import checked_options
from deepsal.runs.paths import moved_paths, parse_yaml
from deepsal.runs.process import forget_stale_ranks, is_first_rank
from deepsal.runs.run_names import find_run
from deepsal.runs.targets import PARTS
from deepsal.terminal import PLAIN_ERRORS

CONFIG_KEYS = ("do", "seed", "ckpt", "name")
"""Options that a run needs beside its `PARTS`."""


class ResumePoint(NamedTuple):
    """Configuration of a run, and the checkpoint that its training resumes from.

    config: plain values · checkpoint: None where the run must start again.
    """

    config: dict[str, Any]
    checkpoint: Path | None


def resume_run(
    arguments: Sequence[str], run: Callable[[dict[str, Any], Path, Path | None], object]
) -> int:
    """Resume the run of `resume=RUN` on a command line; print a plain error.

    RUN is a run folder, or a part of its name that no other run below `runs` has.

    Args:
        arguments: of the command line.
        run: runs a configuration in a folder from a checkpoint.

    Returns:
        The exit code.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    (option, *_) = (argument for argument in arguments if argument.startswith("resume="))
    try:
        folder = find_run(option.removeprefix("resume="), "resume=").absolute()
        if (folder / "config.yaml").is_file():
            forget_stale_ranks(read_config(folder / "config.yaml").get("trainer") or {})
        with hold_folder(folder):
            if point := resume_point(folder, [a for a in arguments if a != option]):
                run(point.config, folder, point.checkpoint)
    except PLAIN_ERRORS as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def resume_point(folder: Path, overrides: Sequence[str] = ()) -> ResumePoint | None:
    """Return what a run needs to be resumed, or None if it is done.

    Damaged checkpoints are named on the terminal. Where none is left, the outputs of the training
    are removed, because it starts again. If the folder was moved or copied, paths in its
    configuration follow it, and the original is not changed.

    Args:
        folder: the run folder.
        overrides: other options of the command line, which a resumed run does not take.

    Raises:
        ValueError: there are overrides.
        FileNotFoundError: the folder has no `config.yaml`.
        ValueError: its `config.yaml` is damaged, or an option in it is out of range.
    """
    if overrides:
        raise ValueError(f"a resumed run keeps its configuration; leave out {' '.join(overrides)}")
    file = folder / "config.yaml"
    if not file.is_file():
        raise FileNotFoundError(
            f"resume={folder}: not a run folder (it has no config.yaml); set resume=RUN_FOLDER"
        )
    config = read_config(file)
    if run_folder.outcome_if_done(folder, file.read_text(encoding="utf-8")):
        print(f"{folder} is done already")  # noqa: T201
        return None
    if missing := [key for key in (*CONFIG_KEYS, *PARTS) if key not in config]:
        raise ValueError(f"{file} lacks {', '.join(missing)}; start the run again")
    config = checked_options(follow_folder(config, folder))
    from deepsal.training.checkpoints import newest_checkpoint  # imports torch

    newest, damaged = newest_checkpoint(folder)
    if is_first_rank():
        for path in damaged:
            print(f"{path} is damaged and not used")  # noqa: T201
        if newest is None:
            run_folder.remove_training_outputs(folder)
    return ResumePoint(config, newest)


def follow_folder(config: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the configuration of a run folder that may have been moved or copied.

    A copy gets a W&B run of its own. Where the folder of the data does not exist, `DEEPSAL_DATA`
    replaces it.
    """
    moves, before = {}, Path(config.get("output_dir", folder))
    if before != folder:
        moves[str(before)] = str(folder)
        if is_first_rank() and (before / "wandb_id").is_file():
            (folder / "wandb_id").unlink(missing_ok=True)
    data_dir, other = config.get("data_dir"), os.environ.get("DEEPSAL_DATA")
    if data_dir and other and not Path(data_dir).is_dir():
        moves[data_dir] = other
    return {**moved_paths(config, moves), "output_dir": str(folder)}


def read_config(file: Path) -> dict[str, Any]:
    """Return the configuration of a run as plain values.

    Raises:
        ValueError: the file is no YAML, or does not hold a configuration.
    """
    try:
        config = parse_yaml(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is damaged: {' '.join(str(error).split())}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{file} is damaged: it holds no configuration; start the run again")
    return config
