"""Preemption: save and stop when a cluster takes its nodes back."""

import signal
from types import FrameType
from typing import Any

import pytorch_lightning as pl
from typing_extensions import override

from deepsal.training.checkpoints import LastCheckpoint
from deepsal.vocabulary import PREEMPTION_SIGNAL


class RunPreempted(Exception):  # noqa: N818  # no error: the run is resumed later
    """End of a process that was preempted. Its run can be resumed without loss."""


class PreemptionCallback(pl.Callback):
    """Callback that saves and stops, at the same batch on all ranks, once any rank is preempted.

    A process is preempted by `PREEMPTION_SIGNAL`. The signal only sets a flag; nothing is saved
    inside the handler. The run stops between two batches, and `LastCheckpoint` saves so that the
    resumed run has the numbers of an uninterrupted one. After the last batch of an epoch, its
    validation is completed first. While gradients accumulate, their step is completed first.

    Raises:
        RunPreempted: out of the fit.
    """

    def __init__(self) -> None:
        self.signalled = False
        self.stopping = False

    @override
    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.signalled = self.stopping = False
        self.previous_handler = signal.signal(PREEMPTION_SIGNAL, self._on_signal)

    @override
    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_batch: Any
    ) -> None:
        self.stopping = trainer.strategy.reduce_boolean_decision(self.signalled, all=False)

    @override
    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if not self.stopping or batch_idx % trainer.accumulate_grad_batches:
            return
        if batch_idx and trainer.datamodule:  # type: ignore[attr-defined]
            for callback in trainer.checkpoint_callbacks:
                if isinstance(callback, LastCheckpoint):
                    callback.save_mid_epoch(trainer, batch_idx)
        self._raise_preempted(trainer)

    @override
    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.stopping:
            self._raise_preempted(trainer)

    @override
    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage == "fit":
            signal.signal(PREEMPTION_SIGNAL, self.previous_handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.signalled = True

    def _raise_preempted(self, trainer: pl.Trainer) -> None:
        raise RunPreempted(f"preempted at step {trainer.global_step}")
