"""Leave in good time when a cluster wants its nodes back."""

import signal
from types import FrameType
from typing import Any

import pytorch_lightning as pl
from typing_extensions import override

from deepsal.training.checkpoints import LastCheckpoint

PREEMPTION_SIGNAL = signal.SIGUSR2
"""What submitit asks Slurm to send before the time is up."""


class RunPreempted(Exception):  # noqa: N818  # nothing is wrong
    """The process was told to leave; the run goes on later from where it was."""


class PreemptionCallback(pl.Callback):
    """Save and stop between two batches, on all ranks at the same one, once any got the signal.

    The signal only sets a flag: nothing is saved inside a handler. `Last` saves so that the run
    goes on with the epoch's next batch and its numbers stay those of an uninterrupted run. After
    the last batch of an epoch its validation is done first, and what is kept is the whole epoch;
    while gradients accumulate, their step is taken first.

    Raises:
        Preempted: out of the fit.
    """

    def __init__(self) -> None:
        self.told = False
        self.leaving = False

    @override
    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.told = self.leaving = False
        self.before = signal.signal(PREEMPTION_SIGNAL, self._tell)

    @override
    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_batch: Any
    ) -> None:
        self.leaving = trainer.strategy.reduce_boolean_decision(self.told, all=False)

    @override
    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self.leaving and batch_idx % trainer.accumulate_grad_batches == 0:
            last = next(
                (c for c in trainer.checkpoint_callbacks if isinstance(c, LastCheckpoint)), None
            )
            if batch_idx and last and trainer.datamodule:  # type: ignore[attr-defined]
                last.leave(trainer, batch_idx)
            raise RunPreempted(f"told to leave at step {trainer.global_step}")

    @override
    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.leaving:
            raise RunPreempted(f"told to leave at step {trainer.global_step}")

    @override
    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage == "fit":
            signal.signal(PREEMPTION_SIGNAL, self.before)

    def _tell(self, number: int, frame: FrameType | None) -> None:
        self.told = True
