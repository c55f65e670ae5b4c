"""Progress in the terminal: bars, or a line per epoch and per half minute."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ProgressBar, RichProgressBar
from typing_extensions import override

Item = TypeVar("Item")

LINE_SECONDS = 30.0
"""Time between two lines of progress of a step that has no epochs."""
PRINTED_METRICS = ("train/loss", "val/loss", "val/nss", "val/cc", "val/kl")


def progress_bar() -> ProgressBar:
    """Return progress bars for a terminal, or one line per epoch for a log file or pipe."""
    return LazyRichProgressBar(leave=True) if sys.stdout.isatty() else EpochLines()


def lines_of_progress(items: Iterable[Item], label: str, total: int) -> Iterator[Item]:
    """Yield items, and print every half minute how many of them are done.

    Args:
        items: of a long step.
        label: of the step, such as "export".
        total: the number of items.
    """
    start = last = time.monotonic()
    for done, item in enumerate(items):
        if (now := time.monotonic()) - last >= LINE_SECONDS:
            last = now
            print(f"{label} {done}/{total} images  {now - start:.0f} s", flush=True)  # noqa: T201
        yield item


class LazyRichProgressBar(RichProgressBar):
    """Progress bars that read the loss only as often as it is logged.

    Each read makes the host wait for a GPU.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.reads_metrics = True
        self.newest_metrics: dict[str, int | str | float | dict[str, float]] = {}

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
        self.reads_metrics = (batch_idx + 1) % max(1, every) == 0
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        self.reads_metrics = True

    @override
    def get_metrics(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        if self.reads_metrics:
            self.newest_metrics = super().get_metrics(trainer, pl_module)
        return self.newest_metrics


class EpochLines(ProgressBar):
    """Progress as lines: one per epoch, and one per half minute of a test.

    The line of an epoch has losses, validation scores, seconds and images per second.
    """

    def __init__(self) -> None:
        super().__init__()
        self.silent = False
        self.start_time = self.seconds = 0.0
        self.image_count = 0

    @override
    def disable(self) -> None:
        """Print nothing; Lightning calls this on every rank but the first."""
        self.silent = True

    @override
    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_test_start(trainer, pl_module)
        total = int(sum(trainer.num_test_batches))
        self.test_batches = lines_of_progress(range(total + 1), "test", total)

    @override
    def on_test_batch_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if not self.silent:
            next(self.test_batches, None)

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self.start_time = time.monotonic()  # an epoch that is resumed halfway has no start

    @override
    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.start_time = time.monotonic()
        self.seconds = 0.0
        self.image_count = 0

    @override
    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: object, batch_idx: int
    ) -> None:
        self.image_count += len(batch.image) * trainer.world_size  # type: ignore[attr-defined]

    @override
    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.seconds = time.monotonic() - self.start_time

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.silent:
            return
        values = trainer.callback_metrics
        self.seconds = self.seconds or time.monotonic() - self.start_time  # without a validation
        scores = "  ".join(f"{key} {values[key]:.3f}" for key in PRINTED_METRICS if key in values)
        rate = self.image_count / max(self.seconds, 1e-9)
        epoch = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        print(f"{epoch}  {scores}  {self.seconds:.1f} s  {rate:.0f} images/s", flush=True)  # noqa: T201
