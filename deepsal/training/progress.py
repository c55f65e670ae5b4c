"""What the terminal shows while a network trains."""

import sys
import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ProgressBar, RichProgressBar
from typing_extensions import override

PRINTED_METRICS = ("train/loss", "val/loss", "val/nss", "val/cc", "val/kl")


def progress_bar() -> ProgressBar:
    """Return bars with throughput on a terminal, one line per epoch off it (logs stay readable)."""
    return LazyRichProgressBar(leave=True) if sys.stdout.isatty() else EpochLines()


class LazyRichProgressBar(RichProgressBar):
    """Lightning's bars, which read the loss only as often as it is logged.

    Reading it makes the host wait for a GPU.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.reads = True
        self.newest: dict[str, int | str | float | dict[str, float]] = {}

    @override
    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        self.reads = (batch_idx + 1) % max(1, every) == 0
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        self.reads = True

    @override
    def get_metrics(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        if self.reads:
            self.newest = super().get_metrics(trainer, pl_module)
        return self.newest


class EpochLines(ProgressBar):
    """One line per epoch: losses, validation scores, seconds and images per second."""

    def disable(self) -> None:
        """Lightning calls this on every rank but the first."""
        self.silent = True

    def __init__(self) -> None:
        super().__init__()
        self.silent = False
        self.began = 0.0
        self.images = 0

    @override
    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.began = time.monotonic()
        self.images = 0

    @override
    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: object, batch_idx: int
    ) -> None:
        self.images += len(batch.image) * trainer.world_size  # type: ignore[attr-defined]

    @override
    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.seconds = time.monotonic() - self.began

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.silent:
            return
        values = trainer.callback_metrics
        scores = "  ".join(f"{key} {values[key]:.3f}" for key in PRINTED_METRICS if key in values)
        rate = self.images / max(self.seconds, 1e-9)
        epoch = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        print(f"{epoch}  {scores}  {self.seconds:.1f} s  {rate:.0f} images/s", flush=True)  # noqa: T201
