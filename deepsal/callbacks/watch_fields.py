"""Receptive fields through training: what units respond to before, during and after it."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from typing_extensions import override

from deepsal.callbacks.field_snapshot import FieldSnapshot
from deepsal.data.batch import FixationImages
from deepsal.rf.hooks import temporary_eval_mode
from deepsal.rf.memory import is_out_of_memory
from deepsal.rf.patches import StrongestPatchRecorder
from deepsal.training.wandb_log import log_figure, log_numbers
from deepsal.vocabulary import STAGES

LOG = logging.getLogger(__name__)


class WatchReceptiveFields(pl.Callback):
    """Extracts signed receptive fields at checkpoints, without changing the training by a bit.

    Before training (epoch 0, the pre-trained network), after chosen epochs, and in a test that no
    training came before, each unit's field before its rectifier (Captum), on several sources of
    patches of the validation images: `centred`, the same patches at every checkpoint with the unit
    in the middle, so that a change is the network's; and `strongest`, the patches that excite the
    unit most now, one per image, in a pass over all validation images. Everything is computed in
    full float32, whatever precision the training uses. Leaves `fields/epoch=NNN.npz` (or
    `fields/test.npz`), a grid per stage and source, and at the end each stage's evolution, radial
    profiles and strongest patches. Logs, per stage, medians over units: `rf/conv4/correlation`
    (with epoch 0, first source, both smoothed by a quarter of the stride), `rf/conv4/extent`
    (pixels), `rf/conv4/csi` and `rf/conv4/k` (`deepsal.rf.measures.shape`,
    `deepsal.rf.fit_field_models`),
    `rf/conv4/ssi` (disks on grey, `deepsal.rf.tuning_indices`),
    `rf/conv4/dead` (share of units without a top patch); and `rf/conv4/cka_to_start`, how alike
    the stage represents 16 validation images at epoch 0 and now.

    Where memory does not suffice the training goes on: that checkpoint is skipped, or all if it was
    the first, and a warning says so.

    Args:
        folder: the run folder.
        stages: submodules of `network.backbone` to watch.
        units: the first so many channels of each stage, or their numbers.
        patches: images per unit and source.
        every_n_epochs: how often; the last epoch is always watched.
        window: side of a stored field in pixels.
        sources: of patches: centred, strongest, blank, noise; changes are measured on the first.
        method: see `deepsal.rf.map_receptive_fields`.
    """

    def __init__(
        self,
        folder: str | Path,
        stages: Sequence[str] = STAGES,
        units: int | Sequence[int] = 16,
        patches: int = 4,
        every_n_epochs: int = 1,
        window: int = 129,
        sources: Sequence[str] = ("centred", "strongest"),
        method: str = "gradient",
    ) -> None:
        self.look = FieldSnapshot(Path(folder), stages, units, patches, sources, window, method)
        self.every_n_epochs = every_n_epochs
        self.seconds = self.began = 0.0
        self.blind = False

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.began = time.monotonic()
        self.look.choose(_saliency_network(pl_module).backbone.channels)
        if not self.look.start and trainer.is_global_zero:
            self.blind = trainer.current_epoch > 0  # continued after a first look that failed
            if not self.blind:
                self.blind = not self._look(trainer, pl_module, 0)
        self.blind = trainer.strategy.broadcast(self.blind)

    @override
    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        due = epoch % self.every_n_epochs == 0 or epoch == trainer.max_epochs
        fitting = trainer.state.fn == "fit" and not trainer.sanity_checking
        if fitting and due and not self.blind and trainer.is_global_zero:
            self._look(trainer, pl_module, epoch)

    @override
    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.blind or not trainer.is_global_zero:
            return
        began = time.monotonic()
        for key, picture in self.look.finish(_validation_images(trainer)).items():
            log_figure(trainer, key, picture)
        self.seconds += time.monotonic() - began
        if not self.began:  # continued after its last epoch: only the pictures were missing
            return
        whole = time.monotonic() - self.began
        share = 100 * self.seconds / max(whole - self.seconds, 1e-9)
        LOG.info(
            "receptive fields took %.0f s, %.0f %% of the training's time", self.seconds, share
        )

    @override
    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        units = any(True for _ in pl_module.parameters())  # baselines have none
        trained = self.look.units or self.look.file("epoch=000").is_file()  # here, or before a cut
        if trainer.is_global_zero and units and not trained and not self.blind:
            self.look.choose(_saliency_network(pl_module).backbone.channels)
            self._look(trainer, pl_module, None)

    def _stream(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> StrongestPatchRecorder:
        """Return the strongest responses to all validation images."""
        network, recorder = _saliency_network(pl_module), self.look.empty_recorder()
        loader = trainer.datamodule.val_dataloader()  # type: ignore[attr-defined]
        with temporary_eval_mode(network), torch.no_grad(), recorder.record_from(network):
            seen = 0
            for batch in loader if recorder.units else ():
                recorder.announce_images(range(seen, seen + len(batch.image)))
                network(batch.image.to(pl_module.device))
                seen += len(batch.image)
        return recorder

    def _look(self, trainer: pl.Trainer, pl_module: pl.LightningModule, epoch: int | None) -> bool:
        """Look, store and log; say whether memory sufficed."""
        began = time.monotonic()
        checkpoint = "test" if epoch is None else f"epoch={epoch:03d}"
        about = {
            "epoch": epoch,
            "step": trainer.global_step,
            "dataset": trainer.datamodule.dataset.name,  # type: ignore[attr-defined]
            "seed": torch.initial_seed(),
        }
        numbers: dict[str, float] = {}
        pictures: dict[str, Path] = {}
        try:
            recorder = self._stream(trainer, pl_module)
            numbers, pictures = self.look(
                _saliency_network(pl_module),
                _validation_images(trainer),
                recorder,
                checkpoint,
                about,
            )
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            LOG.warning(
                "no receptive fields of %s%s: out of memory; fewer rf.units or rf.patches, or a "
                "smaller rf.window, take less (%s)",
                checkpoint,
                " nor of later ones" if epoch == 0 else "",
                str(error).partition("\n")[0],
            )
        log_numbers(trainer, numbers)
        for key, picture in pictures.items():
            log_figure(trainer, key, picture)
        self.seconds += time.monotonic() - began
        return bool(numbers)


def _saliency_network(pl_module: pl.LightningModule) -> Any:
    return pl_module.network


def _validation_images(trainer: pl.Trainer) -> FixationImages:
    images: FixationImages = trainer.datamodule.images["val"]  # type: ignore[attr-defined]
    return images
