"""Leave in good time when a cluster wants its nodes back."""

import signal
from types import FrameType
from typing import Any

import pytorch_lightning as pl
from typing_extensions import override

SIGNAL = signal.SIGUSR2
"""What submitit asks Slurm to send before the time is up."""


class Preempted(Exception):  # noqa: N818  # nothing is wrong
    """The process was told to leave; the run goes on later from its last whole epoch."""


class Requeue(pl.Callback):
    """Stop the fit at the end of a batch, on all ranks at the same one, once any got the signal.

    The signal only sets a flag: nothing is saved inside a handler. An epoch that is cut short is
    done again from its start, as after any other death, so the numbers stay those of an
    uninterrupted run.

    Raises:
        Preempted: out of the fit.
    """

    def __init__(self) -> None:
        self.told = False

    @override
    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.told = False
        self.before = signal.signal(SIGNAL, self._tell)

    @override
    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_batch: Any
    ) -> None:
        if trainer.strategy.reduce_boolean_decision(self.told, all=False):
            raise Preempted(f"told to leave at step {trainer.global_step}")

    @override
    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage == "fit":
            signal.signal(SIGNAL, self.before)

    def _tell(self, number: int, frame: FrameType | None) -> None:
        self.told = True
