"""Runs for the tests: their options, their configuration and their processes."""

import os
import subprocess
import sys
from pathlib import Path

import torch
from hydra import compose
from omegaconf import DictConfig, OmegaConf

import run

ROOT = Path(__file__).parents[1]
SMALL = ["backbone.weights=null", "data=popout", "trainer=smoke", "trainer.precision=32-true"]
SMALL += ["backbone=resnet18", "data.dataset.images=[4,3,3]", "data.batch_size=2"]
SMALL += ["data.size=[64,64]", "data.dataset.size=[64,64]"]


def composed(folder: Path, *overrides: str) -> DictConfig:
    """Return the configuration of a run in this folder; Hydra must be initialised."""
    return compose("config", [*overrides, f"output_dir={folder}"])


def written(folder: Path, *overrides: str) -> DictConfig:
    """Return the configuration of a run, which is in its folder too, as `run.py` leaves it."""
    config = composed(folder, *overrides)
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(config, resolve=True))
    return config


def built(folder: Path, *overrides: str) -> dict[str, object]:
    """Return the objects of a run."""
    return run.build(composed(folder, *overrides))


def door(folder: Path, *overrides: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Start `run.py` in a process of its own, with as many threads as this one has."""
    threads = str(torch.get_num_threads())
    environment = {**os.environ, "WANDB_MODE": "offline", "OMP_NUM_THREADS": threads}
    place = "hydra.sweep.dir" if "-m" in overrides else "hydra.run.dir"
    command = [sys.executable, "run.py", *overrides, f"{place}={folder}"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done
