"""Which checkpoints a run keeps."""

from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint

DIRECTION = {"loss": "min", "kl": "min", "nss": "max", "cc": "max"}


def best(folder: str | Path, metric: str) -> ModelCheckpoint:
    """Keep `checkpoints/best.ckpt`: the epoch with the best validation score.

    Args:
        folder: the run folder.
        metric: val/nss, val/cc, val/kl or val/loss.

    Raises:
        ValueError: another metric; the message lists the choices.
    """
    choices = [f"val/{score}" for score in DIRECTION]
    if metric not in choices:
        raise ValueError(f"metric={metric}: the choices are {choices}")
    return ModelCheckpoint(
        Path(folder) / "checkpoints",
        filename="best",
        monitor=metric,
        mode=DIRECTION[metric.removeprefix("val/")],
        enable_version_counter=False,
    )


class Last(ModelCheckpoint):
    """Keep `checkpoints/last.ckpt`: the newest epoch, or the batch at which Ctrl-C came.

    Args:
        folder: the run folder.
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__(
            Path(folder) / "checkpoints",
            filename="last",
            every_n_epochs=1,
            save_on_exception=True,
            enable_version_counter=False,
        )

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Save after Ctrl-C only: after an error the weights may be what is wrong."""
        if isinstance(exception, KeyboardInterrupt):
            super().on_exception(trainer, pl_module, exception)
