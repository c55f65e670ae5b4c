"""Small trainings for the tests of training, callbacks and data."""

import os
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from deepsal.training.checkpoints import (
    AtomicCheckpointIO,
    LastCheckpoint,
    best_checkpoint,
    newest_checkpoint,
)
from deepsal.training.csv_log import csv_logger
from deepsal.training.task import SaliencyTask
from deepsal.vocabulary import PREEMPTION_SIGNAL
from tests.conftest import datamodule, task


def fit(module: SaliencyTask, folder: Path, epochs: int = 2) -> pl.Trainer:
    """Fit a task from seed 0, and save it as `last.ckpt`."""
    pl.seed_everything(0, verbose=False)
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[ModelCheckpoint(folder, filename="last")],
    )
    trainer.fit(module, datamodule())
    return trainer


def fit_with(folder: Path, callbacks: list[pl.Callback], epochs: int = 3) -> SaliencyTask:
    """Fit a task of depth conv3 from seed 0 with these callbacks, and log to `metrics.csv`."""
    pl.seed_everything(0, verbose=False)
    module = task("conv3")
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=csv_logger(folder),
        num_sanity_val_steps=0,
        enable_checkpointing=any(isinstance(c, ModelCheckpoint) for c in callbacks),
        enable_progress_bar=any(isinstance(c, pl.callbacks.ProgressBar) for c in callbacks),
        enable_model_summary=False,
        callbacks=callbacks,
    )
    trainer.fit(module, datamodule())
    return module


def fit_or_resume(
    folder: Path,
    *callbacks: pl.Callback,
    workers: int = 0,
    images: int = 8,
    accumulate: int = 1,
    ranks: int = 1,
) -> dict[str, torch.Tensor]:
    """Fit four epochs from the start, or from the newest checkpoint; return the task's state."""
    pl.seed_everything(3, verbose=False)
    module = task()
    trainer = pl.Trainer(
        max_epochs=4,
        accelerator="cpu",
        devices=ranks,
        strategy="ddp_spawn" if ranks > 1 else "auto",
        callbacks=[best_checkpoint(folder, "val/nss"), LastCheckpoint(folder), *callbacks],
        logger=csv_logger(folder),
        plugins=[AtomicCheckpointIO()],
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        accumulate_grad_batches=accumulate,
    )
    data = datamodule((images, 6, 3), workers=workers)
    trainer.fit(module, data, ckpt_path=newest_checkpoint(folder)[0], weights_only=True)
    return dict(module.state_dict())


class PreemptAt(pl.Callback):
    """Sends the preemption signal to one rank at a step."""

    def __init__(self, step: int, rank: int = 0) -> None:
        self.step = step
        self.rank = rank

    def on_train_batch_start(self, trainer: pl.Trainer, *_args: object) -> None:
        if (trainer.global_step, trainer.global_rank) == (self.step, self.rank):
            os.kill(os.getpid(), PREEMPTION_SIGNAL)
