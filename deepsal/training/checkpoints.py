"""Checkpoints of a run: best and last, written atomically, resumed bit for bit."""

import os
import random
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import TorchCheckpointIO
from pytorch_lightning.callbacks import ModelCheckpoint
from typing_extensions import override

from deepsal.atomic import replace_file
from deepsal.training.csv_log import MetricsCsvLogger
from deepsal.vocabulary import CHECKPOINT_RECORD, VALIDATION_METRICS


def best_checkpoint(folder: str | Path, metric: str) -> ModelCheckpoint:
    """Return a callback that saves the epoch with the best validation score, `best.ckpt`.

    Args:
        folder: the run folder; the file goes to its `checkpoints/`.
        metric: val/nss, val/cc, val/kl or val/loss.

    Raises:
        ValueError: another metric; the message lists the choices.
    """
    choices = [f"val/{score}" for score in VALIDATION_METRICS]
    if metric not in choices:
        raise ValueError(f"metric={metric}: the choices are {choices}")
    return RunCheckpoint(
        Path(folder) / "checkpoints",
        filename="best",
        monitor=metric,
        mode=VALIDATION_METRICS[metric.removeprefix("val/")],
        enable_version_counter=False,
    )


class RunCheckpoint(ModelCheckpoint):
    """Lightning's `ModelCheckpoint`, which a resumed run restores whole, also in another folder.

    Lightning restores no score if the folder has another path, and does not restore the newest one.
    """

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        def here(path: str) -> str:
            return str(Path(self.dirpath or "") / Path(path).name) if path else ""

        files = ("best_model_path", "kth_best_model_path", "last_model_path")
        moved = {key: here(state_dict[key]) for key in files}
        models = {here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict(
            {**state_dict, **moved, "best_k_models": models, "dirpath": self.dirpath}
        )
        self.current_score = state_dict["current_score"]


class LastCheckpoint(RunCheckpoint):
    """Callback that saves the end of the newest whole epoch, to resume from bit for bit.

    The file is `checkpoints/last.ckpt`. It also holds the random states of every rank (Python,
    numpy, torch, CUDA) and the number of rows of `metrics.csv` at that time. An epoch that a crash
    interrupted is repeated from its start. An epoch that `save_mid_epoch` interrupted continues
    with its next batch, because the order of its images and their augmentation depend on the seed
    and the epoch alone.

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
        self.csv_rows = 0
        self.used_batches = 0

    def save_mid_epoch(self, trainer: pl.Trainer, used_batches: int) -> None:
        """Save between two batches of an epoch, on all ranks.

        Args:
            trainer: in `on_train_batch_start`; it must stop after this.
            used_batches: number of batches of the epoch that were trained on.
        """
        progress = trainer.fit_loop.epoch_loop.batch_progress
        for counts in (progress.total, progress.current):
            counts.ready -= 1
        self.used_batches = used_batches
        trainer.save_checkpoint(Path(self.dirpath or "") / "last.ckpt")
        self.used_batches = 0

    @override
    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["random"] = gather_from_ranks(random_state(), trainer.world_size)
        checkpoint["rows"] = [logger.flush_and_count_rows() for logger in _csv_loggers(trainer)]
        if self.used_batches:
            checkpoint["cut"] = {"used": self.used_batches}

    @override
    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if trainer.state.fn == "fit" and "random" in checkpoint:
            cut = checkpoint.get("cut", {})
            if "began" in cut:  # older versions: the generator that drew the order of the images
                raise ValueError(
                    "the checkpoint was saved inside an epoch by an older version, which drew its "
                    "images in another order; to resume from the end of an epoch, remove "
                    f"{self.dirpath}/last.ckpt and run the same command again"
                )
            states = checkpoint["random"]
            restore_random_state(states[trainer.global_rank % len(states)])
            self.csv_rows = next(iter(checkpoint["rows"]), 0)
            if cut:
                trainer.datamodule.batches_to_skip = cut["used"]  # type: ignore[attr-defined]

    @override
    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for logger in _csv_loggers(trainer):
            logger.truncate(self.csv_rows)


def _csv_loggers(trainer: pl.Trainer) -> list[MetricsCsvLogger]:
    return [logger for logger in trainer.loggers if isinstance(logger, MetricsCsvLogger)]


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoint files that are written whole or not at all.

    Writing `last.ckpt` renames the file before it to `last.previous.ckpt`. Whenever the process
    dies, one of the two can be loaded.

    Args:
        record: what each checkpoint states about its training, in the entry `CHECKPOINT_RECORD`;
            plain values, which `torch.load(weights_only=True)` accepts.
    """

    def __init__(self, record: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.entry = {CHECKPOINT_RECORD: dict(record)} if record else {}

    @override
    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replace_file(path) as temporary:
            with temporary.open("wb") as file:
                torch.save({**checkpoint, **self.entry}, file)
                file.flush()
                os.fsync(file.fileno())
            if path.name == "last.ckpt" and is_whole_checkpoint(path):
                os.replace(path, previous_checkpoint(path))


def previous_checkpoint(path: Path) -> Path:
    """Return the path that `last.ckpt` is renamed to before a newer one replaces it.

    >>> previous_checkpoint(Path("last.ckpt")).name
    'last.previous.ckpt'
    """
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def is_whole_checkpoint(path: Path) -> bool:
    """Return whether a checkpoint is complete and its checksums hold."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile, EOFError):
        return False


def newest_checkpoint(folder: Path) -> tuple[Path | None, list[Path]]:
    """Return a run's newest whole checkpoint, and the damaged ones newer than it.

    Args:
        folder: the run folder.

    Returns:
        The file, or None, and the list of damaged files.
    """
    last = folder / "checkpoints" / "last.ckpt"
    damaged: list[Path] = []
    for path in (last, previous_checkpoint(last)):
        if is_whole_checkpoint(path):
            return path, damaged
        damaged += [path] if path.exists() else []
    return None, damaged


def gather_from_ranks(value: Any, ranks: int) -> list[Any]:
    """Return the values of all ranks, on every rank.

    Args:
        value: this rank's value; it must be picklable.
        ranks: number of ranks.
    """
    values = [value] * ranks
    if ranks > 1:
        torch.distributed.all_gather_object(values, value)
    return values


def random_state() -> dict[str, Any]:
    """Return the states of the generators of Python, numpy, torch and CUDA.

    They are plain values and tensors, which `torch.load(weights_only=True)` accepts.
    """
    name, keys, *rest = np.random.get_state(legacy=True)
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {
        "python": random.getstate(),
        "numpy": [name, torch.from_numpy(np.asarray(keys, np.int64)), *rest],
        "torch": torch.get_rng_state(),
        "cuda": cuda,
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """Set every generator to the state that `random_state` returned."""
    version, inner, gauss = state["python"]
    random.setstate((version, tuple(inner), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
