"""Images per second of a whole training run against those of its steps alone."""

import math
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import pytorch_lightning as pl
import torch
from typing_extensions import override

from deepsal.data import SaliencyDataModule, SaliencyDataset, osie, popout_dataset
from deepsal.models import FinetuneDepth, ReadoutDecoder, SaliencyNetwork, build_backbone
from deepsal.training.losses import SaliencyLoss
from deepsal.training.precision import fastest_precision
from deepsal.training.task import SaliencyTask
from tests.bench.harness import Row
from tests.bench.training import written

Size = tuple[int, int]
CASES: Mapping[str, tuple[str, Size, int, int]] = {
    "cpu": ("tf_efficientnet_lite0", (192, 256), 16, 64),
    "cuda": ("vgg16", (480, 640), 16, 480),
}
"""Backbone, size, batch and images of a training set, by device."""
REPEATS = 3


def run(only: str) -> Iterator[Row]:
    """Yield a row with loader processes and one with the images on the device."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    name, size, batch, count = CASES[device]
    with tempfile.TemporaryDirectory() as folder:
        data_dir = os.environ.get("DEEPSAL_DATA")
        whole = osie(data_dir) if data_dir else written(Path(folder))
        places = list(whole.splits["train"])[:count]
        splits = {"train": places, "val": [], "test": []}
        dataset = SaliencyDataset(whole.name, whole.stimuli, splits, whole.sigma)
        for cached in (False, True):
            row = f"pipeline/{name}/{size[0]}x{size[1]}/{'device_cache' if cached else 'loader'}"
            if not row.startswith(only):
                continue
            pipeline = partial(
                pipeline_rate,
                dataset=dataset,
                cache_dir=Path(folder) / "cache",
                device_cache=cached,
            )
            rates = [
                [rate(name, size, batch, device) for rate in (pipeline, step_rate)]
                for _ in range(REPEATS)
            ]
            ours, floor = (statistics.median(turn) for turn in zip(*rates, strict=True))
            yield {
                "name": row,
                "ours_s": len(places) / ours,
                "reference_s": len(places) / floor,
                "ratio": ours / floor,
                "ours_peak_mb": math.nan,
                "reference_peak_mb": math.nan,
                "reference": "the training step alone, one batch kept on the device",
                "ours_images_per_s": ours,
                "reference_images_per_s": floor,
                "images": len(places),
                "repeats": REPEATS,
                "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
                "dataset": dataset.name,
            }


def step_rate(
    backbone_name: str,
    size: Size,
    batch: int,
    device: str | torch.device,
    steps: int = 4,
    compile: bool | str = False,
) -> float:
    """Return the images per second of the training step alone, one batch kept on the device.

    Args:
        backbone_name: as `deepsal.models.build_backbone` takes it; its weights are random.
        size: (h, w) of the images.
        batch: images per step.
        device: cpu or cuda.
        steps: that are timed, after two that are not.
        compile: as `SaliencyTask` takes it.
    """
    device = torch.device(device)
    task = _task(backbone_name, compile).to(device)
    optimizer = task.optimizer(task.finetune.parameter_groups(task.network, task.lr))
    data = SaliencyDataModule(popout_dataset((batch, 0, 0), size=size), size, batch)
    (kept,) = data.train_dataloader()
    kept = kept.to_device(device)
    mixed = fastest_precision(device.type) == "bf16-mixed"
    forward = task.compiled or task.network
    began = 0.0
    for step in range(steps + 2):
        if step == 2:
            began = _now(device)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=mixed):
            log_density = forward(kept.image, size)
            loss, _ = task.loss(log_density, kept.density, kept.fixations)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return steps * batch / (_now(device) - began)


def pipeline_rate(
    backbone_name: str,
    size: Size,
    batch: int,
    device: str | torch.device,
    dataset: SaliencyDataset | None = None,
    cache_dir: Path | None = None,
    device_cache: bool | None = None,
    num_workers: int | None = None,
    epochs: int = 3,
    compile: bool | str = False,
) -> float:
    """Return the images per second of a run of Lightning from its second epoch on.

    Args:
        backbone_name: as `deepsal.models.build_backbone` takes it; its weights are random.
        size: (h, w) of the images.
        batch: images per step.
        device: cpu or cuda.
        dataset: its train split is used; None for ten batches of generated arrays.
        cache_dir: as `SaliencyDataModule` takes it, like the two arguments after it.
        device_cache: whether the images stay on the device.
        num_workers: loader processes.
        epochs: of the run; the first is not timed.
        compile: as `SaliencyTask` takes it.
    """
    device = torch.device(device)
    clock = _Clock(device)
    data = SaliencyDataModule(
        dataset or popout_dataset((10 * batch, 0, 0), size=size),
        size,
        batch,
        num_workers=num_workers,
        cache_dir=cache_dir,
        device_cache=device_cache,
    )
    pl.Trainer(
        max_epochs=epochs,
        accelerator=device.type,
        devices=1,
        precision=fastest_precision(device.type),
        deterministic="warn",  # as the options of conf/trainer
        limit_val_batches=0,
        callbacks=[clock],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(_task(backbone_name, compile), data)
    return clock.images / clock.seconds


class _Clock(pl.Callback):
    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.images = 0
        self.began = self.seconds = 0.0

    @override
    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch == 1:
            self.began = _now(self.device)

    @override
    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *step: object
    ) -> None:
        if trainer.current_epoch:
            self.images += trainer.datamodule.batch_size  # type: ignore[attr-defined]

    @override
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.seconds = _now(self.device) - self.began


def _task(name: str, compile: bool | str) -> SaliencyTask:
    torch.manual_seed(0)
    network = SaliencyNetwork(build_backbone(name, None), ReadoutDecoder)
    optimizer = partial(torch.optim.AdamW, weight_decay=0.01)
    loss = SaliencyLoss(kl=1.0, cc=0.1, nss=0.1)
    return SaliencyTask(network, FinetuneDepth("all"), loss, optimizer, lr=1e-4, compile=compile)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
