"""Receptive fields through training: what units respond to before, during and after it."""

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import captum
import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import Dataset
from typing_extensions import override

from deepsal.callbacks.log import log_numbers, log_picture
from deepsal.data.sample import Batch, Sample
from deepsal.rf import measure, plot, store
from deepsal.rf.fields import Fields, fields
from deepsal.rf.theory import Geometry, geometry
from deepsal.rf.topk import Best, TopK
from deepsal.rf.units import undisturbed

STAGES = ("conv1", "conv2", "conv3", "conv4", "conv5")
SOURCES = ("fixed", "topk")
LOG = logging.getLogger(__name__)


class WatchReceptiveFields(pl.Callback):
    """Extracts signed receptive fields at checkpoints, without changing the training by a bit.

    Before training (epoch 0, the pre-trained network) and after chosen epochs, the mean signed
    gradient of each unit before its rectifier (Captum), on two sets of validation images:
    `fixed`, the same patches at every checkpoint with the unit in the middle, so that a change is
    the network's; and `topk`, the patches that excite the unit most now, one per image, streamed
    from the validation pass. Leaves `fields/epoch=NNN.npz` and one picture per stage and set;
    logs, per stage, medians over units: `rf/conv4/correlation` (with epoch 0, fixed patches, both
    smoothed by a quarter of the stride), `rf/conv4/extent` (pixels), `rf/conv4/dead` (share of
    units without a top patch).

    Args:
        folder: the run folder.
        stages: submodules of `network.backbone` to watch.
        units: the first so many channels of each stage, or their numbers.
        patches: images per unit and set.
        every_n_epochs: how often; the last epoch is always watched.
        window: side of a stored field in pixels.
    """

    def __init__(
        self,
        folder: str | Path,
        stages: Sequence[str] = STAGES,
        units: int | Sequence[int] = 16,
        patches: int = 4,
        every_n_epochs: int = 1,
        window: int = 129,
    ) -> None:
        if unknown := [stage for stage in stages if stage not in STAGES]:
            raise ValueError(f"rf.stages has {unknown}; the stages are {list(STAGES)}")
        self.folder = Path(folder)
        self.stages = list(stages)
        self.wanted = units
        self.patches = patches
        self.every_n_epochs = every_n_epochs
        self.window = window
        self.seconds = self.began = 0.0
        self.units: dict[str, list[int]] = {}
        self.geometry: dict[str, Geometry] = {}
        self.start: dict[str, Fields] = {}
        self.topk: TopK | None = None
        self.hooks = ExitStack()

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.began = time.monotonic()
        network = _network(pl_module)
        channels = network.backbone.channels
        for stage in self.stages:
            wanted = (
                range(min(self.wanted, channels[stage]))
                if isinstance(self.wanted, int)
                else self.wanted
            )
            if not wanted or not 0 <= min(wanted) <= max(wanted) < channels[stage]:
                raise ValueError(
                    f"rf.units={self.wanted}: {stage} has units 0 … {channels[stage] - 1}"
                )
            self.units[stage] = list(wanted)
        first = self._file(0)
        if first.is_file():  # a continued run
            self.start = {s: store.load(first, f"{s}/fixed") for s in self.stages}
        if not trainer.is_global_zero:
            return
        began = time.monotonic()
        self.geometry = {s: geometry(network, f"backbone.{s}") for s in self.stages}
        if not self.start:
            topk = TopK(self._layers(), self.patches)
            loader = trainer.datamodule.val_dataloader()  # type: ignore[attr-defined]
            with undisturbed(network), torch.no_grad(), topk.hooked(network):
                seen = 0
                for batch in loader:
                    topk.next(range(seen, seen + len(batch.image)))
                    network(batch.image.to(pl_module.device))
                    seen += len(batch.image)
            self._look(trainer, network, topk, 0)
        self.seconds += time.monotonic() - began

    @override
    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        due = epoch % self.every_n_epochs == 0 or epoch == trainer.max_epochs
        if trainer.state.fn == "fit" and due:
            self.topk = TopK(self._layers(), self.patches)
            self.seen = 0
            self.hooks.enter_context(self.topk.hooked(_network(pl_module)))

    @override
    def on_validation_batch_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self.topk:
            count, ranks = len(batch.image), trainer.world_size
            first = self.seen * ranks + trainer.global_rank
            self.topk.next(range(first, first + count * ranks, ranks))
            self.seen += count

    @override
    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        topk, self.topk = self.topk, None
        self.hooks.close()
        if topk is None:
            return
        if trainer.world_size > 1:
            others: list[Mapping[str, Best]] = [{}] * trainer.world_size
            torch.distributed.all_gather_object(others, topk.best)
            topk.merge([o for rank, o in enumerate(others) if rank != trainer.global_rank])
        if trainer.is_global_zero:
            began = time.monotonic()
            self._look(trainer, _network(pl_module), topk, trainer.current_epoch + 1)
            self.seconds += time.monotonic() - began

    @override
    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            share = self.seconds / (time.monotonic() - self.began)
            LOG.info("receptive fields took %.0f s, %.0f %% of the fit", self.seconds, 100 * share)

    @override
    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        self.hooks.close()

    def _look(self, trainer: pl.Trainer, network: nn.Module, topk: TopK, epoch: int) -> None:
        dataset = trainer.datamodule.images["val"]  # type: ignore[attr-defined]
        found: dict[str, Fields] = {}
        numbers: dict[str, float] = {}
        for stage in self.stages:
            fixed = self._fixed(network, stage, dataset)
            for source, patches in zip(
                SOURCES, (fixed, topk.patches(f"backbone.{stage}")), strict=True
            ):
                found[f"{stage}/{source}"] = self._fields(network, stage, dataset, patches)
            self.start.setdefault(stage, found[f"{stage}/fixed"])
            now, top = found[f"{stage}/fixed"].field, found[f"{stage}/topk"]
            sigma = self._sigma(stage)
            before = self.start[stage].field
            moved = measure.correlation(*(measure.smoothed(f, sigma) for f in (now, before)))
            numbers[f"rf/{stage}/correlation"] = measure.median(moved)
            numbers[f"rf/{stage}/extent"] = measure.median(measure.extent(now))
            numbers[f"rf/{stage}/dead"] = float(np.mean(top.count == 0))
        store.save(self._file(epoch), found, self._about(trainer, epoch))
        log_numbers(trainer, numbers)
        for name, of_stage in found.items():
            self._draw(trainer, name, of_stage, epoch)

    def _fields(
        self, network: nn.Module, stage: str, dataset: Dataset[Sample], patches: NDArray[np.int64]
    ) -> Fields:
        ids = sorted({i for i in patches[..., 0].ravel().tolist() if i >= 0}) or [0]
        images = torch.stack([dataset[i].image for i in ids])
        local = patches.copy()
        local[..., 0] = np.where(patches[..., 0] < 0, -1, np.searchsorted(ids, patches[..., 0]))
        found = fields(
            network,
            f"backbone.{stage}",
            images,
            local,
            self.units[stage],
            self.geometry[stage],
            self.window,
        )
        return Fields(found.field, found.units, patches, found.activation, found.count)

    def _fixed(self, network: nn.Module, stage: str, dataset: Dataset[Sample]) -> NDArray[np.int64]:
        height, width = dataset[0].image.shape[-2:]
        rows, columns = (
            side // stride // 2
            for side, stride in zip((height, width), self.geometry[stage].stride, strict=True)
        )
        count = min(self.patches, len(dataset))  # type: ignore[arg-type]
        one = [[i, rows, columns] for i in range(count)]
        return np.array([one] * len(self.units[stage]), dtype=np.int64)

    def _draw(self, trainer: pl.Trainer, name: str, found: Fields, epoch: int) -> None:
        stage, source = name.split("/")
        title = f"{stage}, epoch {epoch}: mean gradient, {self.patches} {source} patches"
        figure = plot.grid(found.field, found.units.tolist(), title, self._sigma(stage))
        file = self.folder / "figures" / "fields" / f"{stage}-{source}" / f"epoch={epoch:03d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(plot.png(figure))
        log_picture(trainer, f"rf/{name}", file)

    def _about(self, trainer: pl.Trainer, epoch: int) -> dict[str, Any]:
        return {
            "method": "mean signed gradient before the rectifier",
            "epoch": epoch,
            "step": trainer.global_step,
            "dataset": trainer.datamodule.dataset.name,  # type: ignore[attr-defined]
            "stages": {
                stage: {**asdict(g), "sigma": self._sigma(stage)}
                for stage, g in self.geometry.items()
            },
            "torch": torch.__version__,
            "captum": captum.__version__,
        }

    def _sigma(self, stage: str) -> float:
        quarter = self.geometry[stage].stride[0] / 4
        return quarter if quarter >= 1 else 0.0

    def _layers(self) -> dict[str, list[int]]:
        return {f"backbone.{stage}": units for stage, units in self.units.items()}

    def _file(self, epoch: int) -> Path:
        return self.folder / "fields" / f"epoch={epoch:03d}.npz"


def _network(pl_module: pl.LightningModule) -> Any:
    return pl_module.network
