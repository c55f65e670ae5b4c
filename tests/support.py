"""Runs for the tests: their options, their configuration and their processes."""

import os
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from hydra import compose
from omegaconf import DictConfig, OmegaConf

import run
from deepsal.runs import steps, trained
from deepsal.runs.resume import resume_run
from deepsal.training.checkpoints import AtomicCheckpointIO

ROOT = Path(__file__).parents[1]
SMALL = ["backbone.weights=null", "data=popout", "trainer=smoke", "trainer.precision=32-true"]
SMALL += ["backbone=resnet18", "data.dataset.images=[4,3,3]", "data.batch_size=2"]
SMALL += ["data.size=[64,64]", "data.dataset.size=[64,64]"]
"""A run of an epoch of two steps, whatever it logs and watches."""
TINY = ["backbone=resnet18", "backbone.weights=null", "finetune=conv5", "logger=csv", "rf=none"]
TINY += ["data=popout", "data.dataset.images=[8,3,3]", "data.batch_size=2", "data.cache_dir=null"]
TINY += ["data.size=[64,64]", "data.dataset.size=[64,64]", "callbacks.show=null"]
TINY += ["trainer=smoke", "trainer.precision=32-true", "trainer.accelerator=cpu"]
TINY += ["+trainer.strategy=ddp"]
"""A run that several ranks may share, with nothing to watch."""


def composed(folder: Path, *overrides: str) -> DictConfig:
    """Return the configuration of a run in this folder; Hydra must be initialised."""
    config = compose("config", [*overrides, f"output_dir={folder}"])
    for option in trained.checkpoint_options(run.plain_values(config), overrides).items():
        OmegaConf.update(config, *option, merge=False, force_add=True)
    return config


def write_config(folder: Path, *overrides: str) -> DictConfig:
    """Return the configuration of a run, which is in its folder too, as `run.py` leaves it."""
    config = composed(folder, *overrides)
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(config, resolve=True))
    return config


def write_checkpoint(folder: Path, *overrides: str) -> Path:
    """Return the best checkpoint of a run in this folder, whose network is not trained."""
    folder.mkdir(parents=True, exist_ok=True)
    values = plain(write_config(folder, *overrides))
    torch.manual_seed(3)
    content = {"state_dict": run.build_objects(values)["task"].state_dict()}
    record = {"config": values, "dataset": "pop-out", "commit": "abc", "version": "1"}
    file = folder / "checkpoints" / "best.ckpt"
    AtomicCheckpointIO(record).save_checkpoint(content, file)
    return file


def plain(config: DictConfig) -> dict[str, Any]:
    """Return a configuration as plain values."""
    return run.plain_values(config)


def built(folder: Path, *overrides: str) -> dict[str, Any]:
    """Return the objects of a run."""
    return steps.with_trainer(run.build_objects(plain(composed(folder, *overrides))))


def execute(config: DictConfig, folder: Path, last: Path | None = None) -> float | None:
    """Execute the steps of a run in this process, without its report; return the score."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(config, resolve=True))
    values = plain(config)
    return steps.execute_run(values, partial(run.build_objects, values), folder, last)


def resume(folder: Path) -> int:
    """Resume a run in this process; return the exit code."""
    return resume_run([f"resume={folder}"], run.run_in_folder)


def launch(folder: Path, *overrides: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Start `run.py` in a process of its own, with as many threads as this one has."""
    threads = str(torch.get_num_threads())
    environment = {**os.environ, "WANDB_MODE": "offline", "OMP_NUM_THREADS": threads}
    place = "hydra.sweep.dir" if "-m" in overrides else "hydra.run.dir"
    command = [sys.executable, "run.py", *overrides, f"{place}={folder}"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


RECORD_MODULES = """
import atexit, runpy, sys
file, *sys.argv = sys.argv[1:]
atexit.register(lambda: open(file, "w").write("\\n".join(sys.modules)))
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""A script that runs another one and writes the names of all imported modules into a file."""
NO_STEPS = [*SMALL, "logger=csv", "rf=none", "do=[]"]


def start(
    tmp_path: Path,
    *arguments: str,
    code: int = 0,
    variables: Mapping[str, str] | None = None,
    cwd: Path = ROOT,
) -> tuple[set[str], str]:
    """Run `run.py`; return the packages that its process imported, and its output."""
    file = tmp_path / "modules"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", RECORD_MODULES, str(file), str(ROOT / "run.py"), *arguments],
        cwd=cwd,
        env={**environment, **(variables or {})},
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stdout + done.stderr
    packages = {name.partition(".")[0] for name in file.read_text().split()}
    return packages, done.stdout + done.stderr


A100 = "NVIDIA A100-SXM4-80GB, 8.0, 550.54.15, GPU-aa1"
"""A GPU as `nvidia-smi` lists it; see the fixture `install_gpus`."""
V100 = "Tesla V100-SXM2-16GB, 7.0, 470.57, GPU-ab2"
