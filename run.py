"""deepsal's one door: compose → build → fit/test/probe/export → report.

python run.py                                        VGG16 on OSIE
python run.py -m backbone=vgg16,resnet50 finetune=conv5,conv4,all
python run.py resume=runs/…/…                        go on with a run that was cut short
python run.py --help                                 every option
"""

import ctypes
import inspect
import logging
import os
import shutil
import subprocess
import sys
import warnings
from copy import deepcopy
from pathlib import Path
from typing import Any

import hydra
import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException, InstantiationException
from hydra.types import RunMode
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from deepsal.callbacks import Checkpoints, WeightsAndBiases, judge, newest
from deepsal.callbacks.log import log_numbers
from deepsal.models import trained
from deepsal.precision import fastest
from deepsal.report import comparison, jobs, origin, page, pictures, scores, tables

PARTS = ("task", "data", "callbacks", "logger", "trainer", "probe", "export")
ALLOWED = ("deepsal.", "torch.", "torchvision.", "pytorch_lightning.")
VERBS = ("fit", "test", "probe", "export")
SAID = (ValueError, OSError, FloatingPointError, ImportError, OmegaConfBaseException)
"""Errors whose message is enough: no traceback."""
JOBS: list[jobs.Job] = []
"""What the jobs of a sweep came to."""

logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
for chatter in (
    ".isinstance.treespec, LeafSpec.",  # github.com/Lightning-AI/pytorch-lightning/issues/21326
    "The number of training batches",
    ".*does not have many workers",
    "Found .* module.* in eval mode",  # frozen stages
    ".*multiple `ModelCheckpoint` callbacks",
    "Checkpoint directory .* exists and is not empty",  # a continued run
):
    warnings.filterwarnings("ignore", message=chatter)
OmegaConf.register_new_resolver("fastest_precision", fastest, replace=True)
torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
if sys.platform == "linux":  # keep freed tensors' memory: page faults slow a CPU training
    libc = ctypes.CDLL(None)
    M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
    if hasattr(libc, "mallopt"):
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def build(config: DictConfig) -> dict[str, Any]:
    """Make the objects a configuration describes: task, data, callbacks, logger, trainer."""
    plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    objects = instantiate({part: _checked(plain[part], part) for part in PARTS}, _convert_="all")
    callbacks = [callback for callback in objects["callbacks"].values() if callback]
    loggers = [*objects["logger"].values()]
    trainer = objects["trainer"](callbacks=callbacks, logger=loggers, plugins=[Checkpoints()])
    return {**objects, "trainer": trainer}


def _checked(node: Any, path: str) -> Any:
    """Refuse targets outside the allow-list; drop an option's name where its object takes none."""
    if isinstance(node, list):
        return [_checked(value, f"{path}[{i}]") for i, value in enumerate(node)]
    if not isinstance(node, dict):
        return node
    named = False
    if target := node.get("_target_"):
        found: Any = get_object(target) if target.startswith(ALLOWED) else None
        if not f"{getattr(found, '__module__', '')}.".startswith(ALLOWED):
            raise ValueError(f"{path}._target_={target}: only {', '.join(ALLOWED)} may be built")
        named = "name" in inspect.signature(found).parameters
    return {
        key: _checked(value, f"{path}.{key}")
        for key, value in node.items()
        if key != "name" or named
    }


def execute(config: DictConfig, folder: Path, last: Path | None = None) -> float | None:
    """Do the verbs in order; return the sweep's score (the best epoch's, or the test's).

    `last` is the checkpoint of this very run that the fit goes on from.
    """
    if unknown := [verb for verb in config.do if verb not in VERBS]:
        raise ValueError(f"do={unknown}: the verbs are {list(VERBS)}")
    pl.seed_everything(config.seed, workers=True, verbose=False)
    objects = build(config)
    task, data, trainer = objects["task"], objects["data"], objects["trainer"]
    found, ckpt = None, config.ckpt
    before = deepcopy(task.network.backbone) if "probe" in config.do else None
    wandb = [logger for logger in trainer.loggers if isinstance(logger, WeightsAndBiases)]
    for logger in wandb:
        logger.log_hyperparams(OmegaConf.to_container(config, resolve=True))
    failed = True
    try:
        if "fit" in config.do:
            trainer.fit(task, data, ckpt_path=last or ckpt, weights_only=True)
            found, ckpt = trainer.checkpoint_callback.best_model_score.item(), "best"
        if "test" in config.do:
            trainer.test(task, data, ckpt_path=ckpt, weights_only=True, verbose=False)
            of = data.images["test"].dataset.name
            scores.write(folder, task.rows, of, task.score.protocol, task.score.maps)
            found = trainer.callback_metrics["test/nss"].item() if found is None else found
        best = trainer.checkpoint_callback.best_model_path or config.ckpt
        if before and trainer.is_global_zero:
            after = trained(before, best) if best else before
            rows = objects["probe"](before, [after], data.images["val"])
            log_numbers(trainer, judge.scalars(rows))
            judge.show(rows)
        if "export" in config.do and trainer.is_global_zero:
            if best:
                task.load_state_dict(torch.load(best, "cpu", weights_only=True)["state_dict"])
            written = objects["export"](task.predictor(data.dataset), data.images["test"])
            print(f"predictions are in {written}")
        failed = False
    finally:
        for logger in wandb:
            logger.close(exit_code=int(failed))
    return found


@hydra.main(config_path="conf", config_name="config", version_base="1.3")
def main(config: DictConfig) -> float | None:
    """Run one job in its folder, or hand a sweep's job to a process of its own."""
    folder, hydra_config = Path(config.output_dir), HydraConfig.get()
    text = OmegaConf.to_yaml(config, resolve=True)
    local = hydra_config.runtime.choices["hydra/launcher"] == "basic"
    alone = not (hydra_config.mode == RunMode.MULTIRUN and local)
    if not alone and (job := jobs.finished(folder, text, folder.name)):
        JOBS.append(job)
        return job.score
    before = folder / "config.yaml"
    if not alone and before.is_file() and before.read_text() != text:
        reason = "the folder holds another configuration; set another hydra.sweep.dir"
        JOBS.append(jobs.Job(folder.name, "failed", reason=reason))
        return None
    if _first_rank():
        try:
            origin.check_folder(folder)
        except OSError as error:
            raise CompactHydraException(f"{type(error).__name__}: {error}") from error
        origin.record(folder, Path(__file__).parent, hydra_config.overrides.task)
        before.write_text(text)
    if alone:
        (folder / "done").unlink(missing_ok=True)
        return run(config, folder)
    command = [sys.executable, __file__, f"resume={folder}"]
    done = subprocess.run(command, env=jobs.environment(os.environ), check=False)
    JOBS.append(jobs.ended(folder, text, done.returncode, folder.name))
    comparison.write(Path(hydra_config.sweep.dir))  # as far as the sweep has come
    return JOBS[-1].score


def resume(folder: Path, *others: str) -> float | None:
    """Go on with a run from its newest whole checkpoint; without one, start it again."""
    if others:
        raise ValueError(f"a resumed run keeps its configuration; leave out {' '.join(others)}")
    if not (folder / "config.yaml").is_file():
        raise FileNotFoundError(f"resume={folder}: no config.yaml there; give a run's folder")
    config = OmegaConf.load(folder / "config.yaml")
    assert isinstance(config, DictConfig)
    if job := jobs.finished(folder, (folder / "config.yaml").read_text()):
        print(f"{folder} is done already")
        return job.score
    config.output_dir = str(folder)
    last, torn = newest(folder)
    for path in torn if _first_rank() else ():
        print(f"{path} is damaged and not used")
    if last is None and _first_rank():
        for made in ("fields", "figures", "checkpoints"):
            shutil.rmtree(folder / made, ignore_errors=True)
    return run(config, folder, last)


def run(config: DictConfig, folder: Path, last: Path | None = None) -> float | None:
    """Run one job in its folder; `status` there says how it ended."""
    try:
        _ended(folder, "running")
        found = execute(config, folder, last)
    except (KeyboardInterrupt, SystemExit):
        _ended(folder, "interrupted")
        print(f"interrupted; to go on from the last whole epoch: resume={folder}")
        raise
    except Exception as error:
        while isinstance(error, InstantiationException) and isinstance(error.__cause__, Exception):
            error = error.__cause__
        _ended(folder, f"failed: {type(error).__name__}: {error}")
        if isinstance(error, SAID):
            raise CompactHydraException(f"{type(error).__name__}: {error}") from error
        raise
    if _first_rank():
        jobs.finish(folder, found)
        _ended(folder, "done")
        pictures.change(folder, f"{config.name} on {config.data.name}")
        page.write(folder)
        tables.summary(folder)
    return found


def _first_rank() -> bool:
    return int(os.environ.get("RANK") or os.environ.get("LOCAL_RANK") or 0) == 0


def _ended(folder: Path, how: str) -> None:
    if _first_rank() and folder.is_dir() and os.access(folder, os.W_OK):
        (folder / "status").write_text(f"{how}\n")


def door() -> int:
    """Read the command line; return the exit code."""
    given = [argument for argument in sys.argv[1:] if argument.startswith("resume=")]
    if not given:
        main()
        return jobs.show(JOBS, "score") if JOBS else 0
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        others = [argument for argument in sys.argv[1:] if argument != given[0]]
        resume(Path(given[0].removeprefix("resume=")).absolute(), *others)
    except (CompactHydraException, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(door())
