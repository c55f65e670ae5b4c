"""Receptive fields of a network before, during and after training."""

import logging
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from typing_extensions import override

from deepsal.callbacks.field_snapshot import FieldSnapshot
from deepsal.callbacks.watch_options import WatchOptions
from deepsal.data.batch import FixationImages
from deepsal.rf import store
from deepsal.rf.hooks import temporary_eval_mode
from deepsal.rf.mapping.noise_correlation import NonFiniteResponsesError
from deepsal.rf.memory import is_out_of_memory
from deepsal.rf.patches import StrongestPatchRecorder
from deepsal.training.wandb_log import log_figure, log_numbers

LOG = logging.getLogger(__name__)


class WatchReceptiveFields(pl.Callback):
    """Callback that maps the signed receptive fields of a network's units at checkpoints.

    It does not change the training: a run without it ends in bit-equal weights. Fields are mapped
    before training (epoch 0, the pre-trained network), after every `every_n_epochs` epochs, and in
    a test that follows no training. A field is read before the unit's rectifier, in full float32
    whatever the training's precision. The strongest patches come from one pass over all validation
    images.

    Files: `fields/epoch=NNN.npz` (or `fields/test.npz`); one figure per stage and source; at the
    end each stage's evolution, radial profiles and strongest patches.

    Log keys (medians over a stage's watched units, but for the first and the last two):

    - `rf/conv4/reliability`: of all units that respond, on the first source (reverse correlation).
    - `rf/conv4/correlation`: with the field of epoch 0, on the first source. Of gradients: both
      smoothed by a quarter of the stride. Of reverse correlation: corrected for noise.
    - `rf/conv4/extent`: pixels.
    - `rf/conv4/csi`, `rf/conv4/k`: centre-surround index and ratio of surround to centre volume
      (`deepsal.rf.measures`).
    - `rf/conv4/extent_error` and so on: standard error of a unit's correlation, extent, csi and k,
      by the jackknife over blocks of noise, or of patches.
    - `rf/conv4/correlation_ceiling`: noise ceiling of the correlation as measured, that is before
      its correction for noise.
    - `rf/conv4/ssi_grating`, `rf/conv4/ssi`: surround suppression by gratings, at each unit's own
      best one, and by disks on grey; rectified, of all responsive units (`rf.tuning`).
    - `rf/conv4/dead`: share of units without a response.
    - `rf/conv4/cka_to_start`: CKA of the stage's activations on 16 validation images with those
      of epoch 0.

    If the device runs out of memory, or a stage's activations are not finite (a training that
    diverged), the training continues: a warning and `fields/missing.json` name the checkpoint that
    has no fields, and the reason. If that is the first checkpoint, no later one is mapped.

    Args:
        folder: the run folder.
        every_n_epochs: interval between mapped checkpoints; the last epoch is always mapped.
        options: fields of `deepsal.callbacks.watch_options.WatchOptions`.

    Raises:
        ValueError: an unknown stage, source or method; the message lists the choices.
    """

    def __init__(self, folder: str | Path, every_n_epochs: int = 1, **options: Any) -> None:
        self.snapshot = FieldSnapshot(Path(folder), WatchOptions(**options))
        self.every_n_epochs = every_n_epochs
        self.seconds = self.start_time = 0.0
        self.disabled = False

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.start_time = time.monotonic()
        self.snapshot.choose_units(_saliency_network(pl_module).backbone.channels)
        if not self.snapshot.start_fields and trainer.is_global_zero:
            self.disabled = (  # a resumed run without first fields had no memory for them
                trainer.current_epoch > 0 or not self._take_snapshot(trainer, pl_module, 0)
            )
        self.disabled = trainer.strategy.broadcast(self.disabled)

    @override
    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        due = epoch % self.every_n_epochs == 0 or epoch == trainer.max_epochs
        fitting = trainer.state.fn == "fit" and not trainer.sanity_checking
        if fitting and due and not self.disabled and trainer.is_global_zero:
            self._take_snapshot(trainer, pl_module, epoch)

    @override
    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.disabled or not trainer.is_global_zero:
            return
        start = time.monotonic()
        for key, file in self.snapshot.draw_summary_figures(_validation_images(trainer)).items():
            log_figure(trainer, key, file)
        self.seconds += time.monotonic() - start
        if not self.start_time:  # resumed after its last epoch: only the figures were missing
            return
        training = time.monotonic() - self.start_time - self.seconds
        share = 100 * self.seconds / max(training, 1e-9)
        LOG.info("receptive fields took %.0f s, %.0f %% of the training time", self.seconds, share)

    @override
    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        learns = any(True for _ in pl_module.parameters())  # baselines have no parameters
        trained = self.snapshot.units or self.snapshot.fields_file("epoch=000").is_file()
        if trainer.is_global_zero and learns and not trained and not self.disabled:
            if not len(_validation_images(trainer)):
                reason = f"{trainer.datamodule.dataset.name} has no validation images"  # type: ignore[attr-defined]
                store.mark_missing(self.snapshot.folder / "fields", "test", reason)
                LOG.warning("no receptive fields: %s; set data@tested in place of data", reason)
                return
            self.snapshot.choose_units(_saliency_network(pl_module).backbone.channels)
            self._take_snapshot(trainer, pl_module, None)

    def _strongest_patches(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule
    ) -> StrongestPatchRecorder:
        """Return the strongest responses to all validation images, without padding."""
        network, recorder = _saliency_network(pl_module), self.snapshot.empty_recorder()
        loader = trainer.datamodule.field_dataloader()  # type: ignore[attr-defined]
        with temporary_eval_mode(network), torch.no_grad(), recorder.record_from(network):
            position = 0
            for batch in loader if recorder.units else ():
                recorder.announce_images(range(position, position + len(batch.image)))
                network(batch.image.to(pl_module.device))
                position += len(batch.image)
        return recorder

    def _take_snapshot(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, epoch: int | None
    ) -> bool:
        """Map, store and log the fields of an epoch (None: of a test); False where it failed."""
        start = time.monotonic()
        checkpoint = "test" if epoch is None else f"epoch={epoch:03d}"
        metadata = {
            "epoch": epoch,
            "step": trainer.global_step,
            "dataset": trainer.datamodule.dataset.name,  # type: ignore[attr-defined]
            "seed": torch.initial_seed(),
        }
        numbers: dict[str, float] = {}
        figures: dict[str, Path] = {}
        try:
            recorder = self._strongest_patches(trainer, pl_module)
            network, images = _saliency_network(pl_module), _validation_images(trainer)
            numbers, figures = self.snapshot(network, images, recorder, checkpoint, metadata)
        except (MemoryError, RuntimeError, NonFiniteResponsesError) as error:
            reason = str(error).partition("\n")[0]
            if is_out_of_memory(error):
                reason = (
                    "out of memory; set fewer rf.units or rf.patches, or a smaller rf.window "
                    f"({reason})"
                )
            elif not isinstance(error, NonFiniteResponsesError):
                raise
            store.mark_missing(self.snapshot.folder / "fields", checkpoint, reason)
            later = " nor of later ones" if epoch == 0 else ""
            LOG.warning("no receptive fields of %s%s: %s", checkpoint, later, reason)
        log_numbers(trainer, numbers)
        for key, file in figures.items():
            log_figure(trainer, key, file)
        self.seconds += time.monotonic() - start
        return bool(numbers)


def _saliency_network(pl_module: pl.LightningModule) -> Any:
    return pl_module.network


def _validation_images(trainer: pl.Trainer) -> FixationImages:
    images: FixationImages = trainer.datamodule.field_images("val")  # type: ignore[attr-defined]
    return images
