"""Which checkpoints a run keeps, and what it takes to go on from one as if nothing had happened."""

import os
import random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import TorchCheckpointIO
from pytorch_lightning.callbacks import ModelCheckpoint
from typing_extensions import override

from deepsal.training.csv_log import MetricsCsvLogger
from deepsal.vocabulary import VALIDATION_METRICS


def best_checkpoint(folder: str | Path, metric: str) -> ModelCheckpoint:
    """Keep `checkpoints/best.ckpt`: the epoch with the best validation score.

    Args:
        folder: the run folder.
        metric: val/nss, val/cc, val/kl or val/loss.

    Raises:
        ValueError: another metric; the message lists the choices.
    """
    choices = [f"val/{score}" for score in VALIDATION_METRICS]
    if metric not in choices:
        raise ValueError(f"metric={metric}: the choices are {choices}")
    return BestCheckpoint(
        Path(folder) / "checkpoints",
        filename="best",
        monitor=metric,
        mode=VALIDATION_METRICS[metric.removeprefix("val/")],
        enable_version_counter=False,
    )


class BestCheckpoint(ModelCheckpoint):
    """Lightning's, which also remembers the newest score when a run goes on."""

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.current_score = state_dict["current_score"]


class LastCheckpoint(ModelCheckpoint):
    """Keep `checkpoints/last.ckpt`: the end of the newest whole epoch, to go on from bit for bit.

    A checkpoint also holds the random states of every rank (python, numpy, torch, CUDA) and how
    many rows of `metrics.csv` it stands for. An epoch cut short by a death is done again from its
    start. One that `leave` cut goes on with its next batch: the order of its images and their
    augmentation depend on the seed and the epoch alone.

    Args:
        folder: the run folder.
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__(
            Path(folder) / "checkpoints",
            filename="last",
            every_n_epochs=1,
            enable_version_counter=False,
        )
        self.rows = 0
        self.used = 0

    def leave(self, trainer: pl.Trainer, used: int) -> None:
        """Save between two batches of an epoch, on all ranks, with the next batch at hand.

        Args:
            trainer: in `on_train_batch_start`; it has to stop after this.
            used: how many batches of the epoch were trained on.
        """
        progress = trainer.fit_loop.epoch_loop.batch_progress
        for counts in (progress.total, progress.current):
            counts.ready -= 1
        self.used = used
        trainer.save_checkpoint(Path(self.dirpath or "") / "last.ckpt")
        self.used = 0

    @override
    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["random"] = _gather_from_ranks(trainer, random_state())
        checkpoint["rows"] = [x.count() for x in trainer.loggers if isinstance(x, MetricsCsvLogger)]
        if self.used:
            checkpoint["cut"] = {"used": self.used}

    @override
    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if trainer.state.fn == "fit" and "random" in checkpoint:
            cut = checkpoint.get("cut", {})
            if "began" in cut:  # which torch drew the order of the images from
                raise ValueError(
                    "the checkpoint was saved inside an epoch by an older version, which drew its "
                    "images in another order; continue from the end of an epoch: remove "
                    f"{self.dirpath}/last.ckpt and give the command again"
                )
            states = checkpoint["random"]
            restore_random_state(states[trainer.global_rank % len(states)])
            self.rows = next(iter(checkpoint["rows"]), 0)
            if cut:
                trainer.datamodule.used = cut["used"]  # type: ignore[attr-defined]

    @override
    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for logger in trainer.loggers:
            if isinstance(logger, MetricsCsvLogger):
                logger.keep(self.rows)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write a checkpoint whole or not at all; the `last.ckpt` before it stays beside it.

    Whenever the process dies, `last.ckpt` or `last.previous.ckpt` can be loaded.
    """

    @override
    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        try:
            with partial.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            if path.name == "last.ckpt" and is_whole_checkpoint(path):
                os.replace(path, previous_checkpoint(path))
            os.replace(partial, path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


def previous_checkpoint(path: Path) -> Path:
    """Return where the checkpoint before this one is.

    >>> previous_checkpoint(Path("last.ckpt")).name
    'last.previous.ckpt'
    """
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def is_whole_checkpoint(path: Path) -> bool:
    """Say whether a checkpoint was written to its end and reads as it was written."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile, EOFError):
        return False


def newest_checkpoint(folder: Path) -> tuple[Path | None, list[Path]]:
    """Return a run's newest whole checkpoint, if any, and the damaged ones that were passed over.

    Args:
        folder: the run folder.
    """
    last = folder / "checkpoints" / "last.ckpt"
    torn: list[Path] = []
    for path in (last, previous_checkpoint(last)):
        if is_whole_checkpoint(path):
            return path, torn
        torn += [path] if path.exists() else []
    return None, torn


def _gather_from_ranks(trainer: pl.Trainer, mine: Any) -> list[Any]:
    """Return what each rank has."""
    every = [mine] * trainer.world_size
    if trainer.world_size > 1:
        torch.distributed.all_gather_object(every, mine)
    return every


def random_state() -> dict[str, Any]:
    """Return the state of every generator as plain values and tensors."""
    name, keys, *rest = np.random.get_state(legacy=True)
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {
        "python": random.getstate(),
        "numpy": [name, torch.from_numpy(np.asarray(keys, np.int64)), *rest],
        "torch": torch.get_rng_state(),
        "cuda": cuda,
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """Set every generator to a state that `random_state` returned."""
    version, inner, gauss = state["python"]
    random.setstate((version, tuple(inner), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
