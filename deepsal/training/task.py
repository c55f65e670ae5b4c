"""LightningModule of a run: network, fine-tuning, loss and scores."""

from collections.abc import Callable, Iterable
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR
from typing_extensions import override

from deepsal.data.batch import Batch, GroundTruth, ImageRegion
from deepsal.data.frame import region_mask
from deepsal.metrics.scoring import ImageScorer, MeanScores
from deepsal.metrics.visual_search import MAX_FIXATIONS, score_target
from deepsal.models import (
    Baseline,
    Centre,
    FinetuneDepth,
    ObserverCeiling,
    SaliencyNetwork,
    Uniform,
)
from deepsal.rf.arithmetic import full_precision
from deepsal.training.compiled_forward import CompiledForward
from deepsal.training.framed_prediction import predict_log_density
from deepsal.training.losses import PendingLossTerms, SaliencyLoss
from deepsal.vocabulary import SCORES

DensityPredictor = Callable[..., Tensor]
"""`SaliencyTask.log_density`, or a function with its arguments."""


class SaliencyTask(pl.LightningModule):
    """Training, validation and test of a network that predicts fixation densities.

    Training and validation images are scored at the network's resolution, test images at their
    own. A test runs in full float32 whatever the training's precision. It also scores two
    baselines on every image: the centre prior (from the training fixations) and chance. Shuffled
    AUC is computed against fixations on other test images, information gain against the centre
    prior. After a test, `test_rows` holds a dict per image: `name`, `nss` …, `centre_nss` …,
    `chance_nss` …. An image with a search target also has the scores of
    `deepsal.metrics.visual_search`; `search` is 100 where 100 fixations miss the target. An image
    that the baseline skips has its name only. `save_test_rows`, if it is set, is called with them
    on every rank as soon as all are scored.

    Args:
        network: images (B, 3, h, w) in [0, 1] → log density (B, H, W). A baseline can be tested but
            not trained.
        finetune: stages that learn; their parameters are set at once, before any distributed
            wrapping.
        loss: the training objective.
        optimizer: `groups → optimiser`, such as `partial(AdamW, weight_decay=0.01)`.
        lr: learning rate of the decoder; stages scale it (`FinetuneDepth.lr_scale`).
        schedule: `(optimiser, steps) → scheduler`, stepped after every batch; None: constant rates.
        score: scores and protocol of the test.
        compile: True or a mode of `torch.compile`: compile the forward pass of training and
            validation.
    """

    def __init__(
        self,
        network: SaliencyNetwork | Baseline,
        finetune: FinetuneDepth,
        loss: SaliencyLoss,
        optimizer: Callable[[Iterable[dict[str, Any]]], Optimizer],
        lr: float,
        schedule: Callable[[Optimizer, int], LRScheduler] | None = None,
        score: ImageScorer | None = None,
        compile: bool | str = False,
    ) -> None:
        super().__init__()
        self.network: Any = network.to(memory_format=torch.channels_last)
        self.compiled = CompiledForward(self.network, compile) if compile else None
        self.finetune = finetune
        self.loss = loss
        self.optimizer = optimizer
        self.lr = lr
        self.schedule = schedule
        self.score = score or ImageScorer()
        self.val_scores = MeanScores()
        self.test_rows: list[dict[str, Any]] = []
        self.save_test_rows: Callable[[list[dict[str, Any]]], None] | None = None
        self.baselines: dict[str, nn.Module] = {}
        self.last_step: PendingLossTerms | None = None
        if not isinstance(network, Baseline):
            finetune.freeze(network)

    @override
    def on_fit_start(self) -> None:
        self.network.train()  # Lightning does not change the mode of modules

    @override
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self._check_last_step()
        log_density, mask = self._predict(self.network, batch, self.compiled), _mask(batch)
        loss: Tensor
        loss, terms = self.loss(log_density, batch.density, batch.fixations, mask)
        position = f"epoch {self.current_epoch + 1}, step {self.global_step}, images {batch.name}"
        self.last_step = PendingLossTerms.begin_copy(terms, position)
        count = len(batch.image)
        self.log("train/loss", loss.detach(), prog_bar=True, batch_size=count)
        self.log_dict({f"train/{name}": term for name, term in terms.items()}, batch_size=count)
        return loss

    @override
    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        log_density, mask = self._predict(self.network, batch, self.compiled), _mask(batch)
        self._check_last_step()
        loss, terms = self.loss(log_density, batch.density, batch.fixations, mask)
        position = f"the validation of epoch {self.current_epoch + 1}, images {batch.name}"
        self.last_step = PendingLossTerms.begin_copy(terms, position)
        truth = GroundTruth(batch.density, batch.fixations, mask=mask)
        self.val_scores.update(log_density, truth)
        self.log("val/loss", loss, batch_size=len(batch.image), sync_dist=True)

    @override
    def on_validation_start(self) -> None:
        self._check_last_step()

    @override
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._check_last_step()

    @override
    def on_validation_epoch_end(self) -> None:
        self._check_last_step()
        means = self.val_scores.compute()
        self.val_scores.reset()
        self.log_dict({f"val/{name}": value for name, value in means.items()}, prog_bar=True)

    @override
    def on_test_start(self) -> None:
        self.test_rows = []
        dataset = self.trainer.datamodule.dataset  # type: ignore[attr-defined]
        refuse_hidden_fixations(self._test_dataset)
        self.baselines = {"centre": Centre().prepare(dataset), "chance": Uniform()}
        if isinstance(self.network, Baseline):
            human = isinstance(self.network, ObserverCeiling)
            self.network.prepare(self._test_dataset if human else dataset)

    @override
    def test_step(self, batch: Batch, batch_idx: int) -> None:
        with full_precision(self.device.type):
            self._score_test_batch(batch)

    def _score_test_batch(self, batch: Batch) -> None:
        rows: list[dict[str, Any]] = [{"name": name} for name in batch.name]
        if isinstance(self.network, Baseline) and self.network.skips(batch.name[0]):
            self.test_rows += rows
            return
        truth = GroundTruth(
            batch.density,
            batch.fixations,
            self._other_fixations(batch),
            self._predict(self.baselines["centre"], batch),
            self._test_dataset.sigma_of(batch.name[0]),  # a test batch is one image
        )
        for prefix, network in {"": self.network, **self.baselines}.items():
            values = self._scores(network, batch, truth)
            label = f"{prefix}_" if prefix else ""
            for score, per_image in values.items():
                for row, value in zip(rows, per_image.tolist(), strict=True):
                    row[f"{label}{score}"] = value
        self.test_rows += rows
        scores = [key for key in rows[0] if key in SCORES]
        means = {f"test/{score}": sum(row[score] for row in rows) / len(rows) for score in scores}
        self.log_dict(means, batch_size=len(rows), sync_dist=True)

    @override
    def on_test_epoch_end(self) -> None:
        """Save the scores before any callback draws them."""
        if self.save_test_rows:
            self.save_test_rows(self.test_rows)

    @override
    def configure_optimizers(self) -> Any:
        _ = self.network.backbone  # a baseline has none and raises an error
        optimizer = self.optimizer(self.finetune.parameter_groups(self.network, self.lr))
        steps = count_steps(self.trainer)
        if self.schedule is None:
            return optimizer
        scheduler = self.schedule(optimizer, steps)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def _check_last_step(self) -> None:
        """Raise FloatingPointError if the last step's loss is not finite."""
        last, self.last_step = self.last_step, None
        if last:
            last.require_finite()

    def _scores(self, network: nn.Module, batch: Batch, truth: GroundTruth) -> dict[str, Tensor]:
        def score(log_density: Tensor, fixated: GroundTruth) -> dict[str, Tensor]:
            log_density, density, fixations = (
                m.to(batch.fixations) for m in (log_density, fixated.density, fixated.fixations)
            )
            elsewhere = {
                field: getattr(truth, field).expand_as(log_density)
                for field in ("other_fixations", "baseline_log_density")
            }
            whole = truth._replace(density=density, fixations=fixations, **elsewhere)
            return {name: value.cpu() for name, value in self.score(log_density, whole).items()}

        if isinstance(network, ObserverCeiling):  # it is scored on held-out observers
            height, width = batch.density.shape[-2:]
            return network.score_ceiling(batch.name, (height, width), score)
        log_density = self._predict(network, batch)
        return score(log_density, truth) | self._target_scores(log_density, batch.name[0])

    def _target_scores(self, log_density: Tensor, name: str) -> dict[str, Tensor]:
        """Return the scores of an image with a search target, `{}` for any other."""
        masks = self._test_dataset.target_masks(name)
        if masks is None:
            return {}
        saliency = (log_density[0] - log_density.max()).exp().cpu()
        scores = score_target(saliency, *masks)
        scores = scores._replace(search=min(scores.search, MAX_FIXATIONS))
        return {key: torch.tensor([float(value)]) for key, value in scores._asdict().items()}

    def predictor(self, dataset: Any) -> DensityPredictor:
        """Return `log_density`, after preparing a baseline for a data set."""
        if isinstance(self.network, Baseline):
            self.network.prepare(dataset)
        return self.log_density

    def log_density(
        self,
        image: Tensor,
        size: tuple[int, int],
        name: list[str],
        region: ImageRegion | None = None,
    ) -> Tensor:
        """Return the log density that the test scores, in float32 and on the CPU.

        Args:
            image: (B, 3, h, w) in [0, 1]; it is moved to the task's device.
            size: (H, W) of the output.
            name: names of the B images, for baselines that read stored maps.
            region: of all B images in `image`; None for images without padding.

        Returns:
            (B, H, W).
        """
        regions = [region] * len(image) if region else None
        with torch.no_grad(), full_precision(self.device.type):
            network = self.network.eval()
            log_density = predict_log_density(network, image.to(self.device), size, name, regions)
        return log_density.cpu()

    @property
    def _test_dataset(self) -> Any:
        """Data set of the scored test images."""
        return self.trainer.datamodule.images["test"].dataset  # type: ignore[attr-defined]

    def _other_fixations(self, batch: Batch) -> Tensor:
        images = 10 if self.score.protocol == "mit" else None
        height, width = batch.density.shape[-2:]
        counts = [
            self._test_dataset.other_images_counts("test", name, (height, width), images)
            for name in batch.name
        ]
        return torch.stack(counts).to(batch.fixations)

    @staticmethod
    def _predict(
        network: nn.Module, batch: Batch, compiled: CompiledForward | None = None
    ) -> Tensor:
        height, width = batch.density.shape[-2:]
        return predict_log_density(
            network, batch.image, (height, width), batch.name, batch.regions, compiled
        )


def _mask(batch: Batch) -> Tensor | None:
    """Return the pixels of a batch that are no padding; None for all."""
    height, width = batch.density.shape[-2:]
    if batch.regions is None:
        return None
    return region_mask(batch.regions, (height, width), batch.density.device)


def count_steps(trainer: pl.Trainer) -> int:
    """Return the number of optimiser steps of a training.

    Raises:
        ValueError: it has no step, or would end before its first validation, which chooses the best
            epoch.
    """
    steps = int(trainer.estimated_stepping_batches)
    if steps < 1:
        raise ValueError(
            f"the training has no step: each of {trainer.world_size} processes has "
            f"{trainer.num_training_batches} batches; set a smaller data.batch_size or "
            "trainer.devices, or a larger trainer.limit_train_batches"
        )
    per_epoch = -(-int(trainer.num_training_batches) // trainer.accumulate_grad_batches)
    interval = trainer.check_val_every_n_epoch or 1
    within = trainer.val_check_interval != 1.0  # several validations in each epoch
    first = 1 if within else interval * per_epoch
    if steps < first:
        raise ValueError(
            f"the training ends after {steps} steps, before its first validation after {first}; "
            "set a smaller trainer.check_val_every_n_epoch, or a larger trainer.max_epochs or "
            "trainer.max_steps"
        )
    return steps


def refuse_hidden_fixations(dataset: Any) -> None:
    """Raise an error for a data set whose fixations only a benchmark's server has.

    Raises:
        ValueError: its images cannot be scored here.
    """
    if dataset.fixations_hidden:
        raise ValueError(
            f"{dataset.name} cannot be scored here: only its benchmark's server has the fixations; "
            "set do=[export] instead of test and submit the exported file"
        )


def one_cycle_schedule(optimizer: Optimizer, steps: int, warmup: float = 0.3) -> LRScheduler:
    """Return a one-cycle schedule that starts from each group's own learning rate.

    Args:
        optimizer: its groups' learning rates are the peaks.
        steps: length of the cycle.
        warmup: share of the steps in which rates rise.

    Source: Smith & Topin 2018.
    """
    peaks = [group["lr"] for group in optimizer.param_groups]
    return OneCycleLR(optimizer, peaks, total_steps=steps, pct_start=warmup)
