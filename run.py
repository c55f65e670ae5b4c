"""deepsal's one door: compose → build → fit/test/probe/export → report.

python run.py                                        VGG16 on OSIE
python run.py -m backbone=vgg16,resnet50 finetune=conv5,conv4,all
python run.py --help                                 every option
"""

import ctypes
import inspect
import logging
import os
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

from deepsal.callbacks import WeightsAndBiases, judge
from deepsal.callbacks.log import log_numbers
from deepsal.models import trained
from deepsal.report import comparison, origin, page, pictures, scores, tables

PARTS = ("task", "data", "callbacks", "logger", "trainer", "probe", "export")
ALLOWED = ("deepsal.", "torch.", "torchvision.", "pytorch_lightning.")
VERBS = ("fit", "test", "probe", "export")

logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
for chatter in (
    ".isinstance.treespec, LeafSpec.",  # github.com/Lightning-AI/pytorch-lightning/issues/21326
    "The number of training batches",
    ".*does not have many workers",
    "Found .* module.* in eval mode",  # frozen stages
    ".*multiple `ModelCheckpoint` callbacks",
):
    warnings.filterwarnings("ignore", message=chatter)
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
    return {**objects, "trainer": objects["trainer"](callbacks=callbacks, logger=loggers)}


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


def execute(config: DictConfig, folder: Path) -> float | None:
    """Do the verbs in order; return the sweep's score (the best epoch's, or the test's)."""
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
            trainer.fit(task, data, ckpt_path=ckpt, weights_only=True)
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
    """Run one job in its folder; `status` there says how it ended."""
    folder = Path(config.output_dir)
    try:
        origin.check_folder(folder)
        origin.record(folder, Path(__file__).parent, HydraConfig.get().overrides.task)
        OmegaConf.save(config, folder / "config.yaml", resolve=True)
        _ended(folder, "running")
        found = execute(config, folder)
    except (KeyboardInterrupt, SystemExit):
        _ended(folder, "interrupted")
        if (last := folder / "checkpoints" / "last.ckpt").is_file():
            print(f"interrupted; to go on from the last checkpoint: ckpt={last}")
        raise
    except Exception as error:
        while isinstance(error, InstantiationException) and isinstance(error.__cause__, Exception):
            error = error.__cause__
        _ended(folder, f"failed: {type(error).__name__}: {error}")
        if isinstance(error, ValueError | OSError | FloatingPointError):
            raise CompactHydraException(f"{type(error).__name__}: {error}") from error
        raise
    _ended(folder, "done")
    pictures.change(folder, f"{config.name} on {config.data.name}")
    page.write(folder)
    tables.summary(folder)
    return found


def _ended(folder: Path, how: str) -> None:
    if folder.is_dir() and os.access(folder, os.W_OK):
        (folder / "status").write_text(f"{how}\n")
        if HydraConfig.get().mode == RunMode.MULTIRUN:  # the sweep's page, as far as it has come
            comparison.write(Path(HydraConfig.get().sweep.dir))


if __name__ == "__main__":
    main()
