"""Exponential moving average of a network's weights during training."""

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EMAWeightAveraging
from typing_extensions import override


class AveragedWeights(EMAWeightAveraging):
    """Callback that averages weights over steps: w̄ ← decay·w̄ + (1 − decay)·w.

    Validation, fields, figures and checkpoints are those of the averaged weights, the buffers of
    normalisation included. Training goes on with the latest ones, also after it is resumed. The
    callback must come after those that measure the network in `on_validation_end`.

    Args:
        decay: from 0, which averages nothing, to 0.99999; 1/(1 − decay) is about the number of
            averaged steps.
    """

    def __init__(self, decay: float = 0.95) -> None:
        super().__init__(decay=decay)

    @override
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._device = trainer.strategy.root_device  # the module moves there after this
        super().setup(trainer, pl_module, stage)

    @override
    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the averaged weights for what `on_validation_end` measures."""

    @override
    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_validation_epoch_end(trainer, pl_module)
