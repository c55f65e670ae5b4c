"""Training and scoring as one LightningModule: network + fine-tuning + loss + scores."""

from collections.abc import Callable, Iterable
from typing import Any, Protocol, runtime_checkable

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR
from typing_extensions import override

from deepsal.metrics.scoring import ImageScorer, MeanScores
from deepsal.models import Baseline, Centre, FinetuneDepth, HumanCeiling, SaliencyNetwork, Uniform
from deepsal.models.compilation import CompiledForward
from deepsal.rf.arithmetic import full_precision
from deepsal.training.losses import PendingLossTerms, SaliencyLoss


@runtime_checkable
class FixationBatch(Protocol):
    """What a step needs of a batch; see `deepsal.data.Batch`."""

    image: Tensor
    density: Tensor
    fixations: Tensor
    name: list[str]


class SaliencyTask(pl.LightningModule):
    """Learns to predict where people look, and scores the prediction.

    Training and validation are scored at the network's resolution, test images at their own. A test
    runs in full float32, whatever precision the training used. In it every image is also scored for
    the centre prior (from the training fixations) and for chance; `rows` then holds one dict per
    image: `name`, `nss` …, `centre_nss` …, `chance_nss` …. Shuffled AUC is against the other test
    images' fixations, information gain over the centre.

    Args:
        network: image (B, 3, h, w) in [0, 1] → log density (B, H, W); a baseline only to test.
        finetune: which stages learn; applied at once, before any distributed wrapping.
        loss: what training minimises.
        optimizer: `groups → optimiser`, such as `partial(AdamW, weight_decay=0.01)`.
        lr: learning rate of the decoder; stages scale it (`Finetune.lr_scale`).
        schedule: `(optimiser, steps) → scheduler` stepped every batch, or None.
        score: which scores of the test images, by which protocol.
        compile: compile the forward pass of training and validation; True or a mode of
            `torch.compile`.
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
        self.rows: list[dict[str, Any]] = []
        self.baselines: dict[str, nn.Module] = {}
        self.last_step: PendingLossTerms | None = None
        if not isinstance(network, Baseline):
            finetune.freeze(network)

    @override
    def on_fit_start(self) -> None:
        self.network.train()  # Lightning leaves modules in the mode it finds them in

    @override
    def training_step(self, batch: FixationBatch, batch_idx: int) -> Tensor:
        self._check_last_step()
        log_density = self._predict(self.compiled or self.network, batch)
        loss: Tensor
        loss, terms = self.loss(log_density, batch.density, batch.fixations, check=False)
        at = f"epoch {self.current_epoch + 1}, step {self.global_step}, images {batch.name}"
        self.last_step = PendingLossTerms.of(terms, at)
        count = len(batch.image)
        self.log("train/loss", loss.detach(), prog_bar=True, batch_size=count)
        self.log_dict({f"train/{name}": term for name, term in terms.items()}, batch_size=count)
        return loss

    @override
    def validation_step(self, batch: FixationBatch, batch_idx: int) -> None:
        log_density = self._predict(self.compiled or self.network, batch)
        self._check_last_step()
        loss, terms = self.loss(log_density, batch.density, batch.fixations, check=False)
        at = f"the validation of epoch {self.current_epoch + 1}, images {batch.name}"
        self.last_step = PendingLossTerms.of(terms, at)
        self.val_scores.update(log_density, batch.density, batch.fixations)
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
        self.rows = []
        dataset = self.trainer.datamodule.dataset  # type: ignore[attr-defined]
        if self._tested.fixations_hidden:
            raise ValueError(
                f"{self._tested.name} cannot be scored here: a benchmark's server keeps its "
                "fixations; use do=[export] in place of test and send it the file"
            )
        self.baselines = {"centre": Centre().prepare(dataset), "chance": Uniform()}
        if isinstance(self.network, Baseline):
            self.network.prepare(
                self._tested if isinstance(self.network, HumanCeiling) else dataset
            )

    @override
    def test_step(self, batch: FixationBatch, batch_idx: int) -> None:
        with full_precision(self.device.type):
            self._test(batch)

    def _test(self, batch: FixationBatch) -> None:
        rows: list[dict[str, Any]] = [{"name": name} for name in batch.name]
        others, baseline = self._others(batch), self._predict(self.baselines["centre"], batch)
        for prefix, network in {"": self.network, **self.baselines}.items():
            values = self._scores(network, batch, others, baseline)
            label = f"{prefix}_" if prefix else ""
            for score, per_image in values.items():
                for row, value in zip(rows, per_image.tolist(), strict=True):
                    row[f"{label}{score}"] = value
        self.rows += rows
        named = [key for key in rows[0] if key != "name" and "_" not in key]
        mine = {f"test/{s}": sum(row[s] for row in rows) / len(rows) for s in named}
        self.log_dict(mine, batch_size=len(rows), sync_dist=True)

    @override
    def configure_optimizers(self) -> Any:
        _ = self.network.backbone  # a baseline refuses: it has nothing to learn
        optimizer = self.optimizer(self.finetune.groups(self.network, self.lr))
        if self.schedule is None:
            return optimizer
        steps = int(self.trainer.estimated_stepping_batches)
        scheduler = self.schedule(optimizer, steps)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def _check_last_step(self) -> None:
        """Raise FloatingPointError if the last step's loss is not finite."""
        last, self.last_step = self.last_step, None
        if last:
            last.check()

    def _scores(
        self, network: nn.Module, batch: FixationBatch, others: Tensor, baseline: Tensor
    ) -> dict[str, Tensor]:
        sigma = self._tested.sigma_of(batch.name[0])  # test images come one by one

        def score(*maps: Tensor) -> dict[str, Tensor]:
            log_density, density, fixations = (m.to(batch.fixations) for m in maps)
            of_image = others.expand_as(log_density), baseline.expand_as(log_density)
            values = self.score(log_density, density, fixations, *of_image, sigma)
            return {name: value.cpu() for name, value in values.items()}

        if isinstance(network, HumanCeiling):  # its truth is not everybody's fixations
            height, width = batch.density.shape[-2:]
            return network.ceiling(batch.name, (height, width), score)
        return score(self._predict(network, batch), batch.density, batch.fixations)

    def predictor(self, dataset: Any) -> Callable[[Tensor, tuple[int, int], list[str]], Tensor]:
        """Return `log_density`, ready for the images of a data set."""
        if isinstance(self.network, Baseline):
            self.network.prepare(dataset)
        return self.log_density

    def log_density(self, image: Tensor, size: tuple[int, int], name: list[str]) -> Tensor:
        """Return the float32 map that the test scores, for named images at a size, `(B, H, W)`.

        It is computed on the task's device and lies on the CPU.
        """
        known = {"name": name} if isinstance(self.network, Baseline) else {}
        with torch.no_grad(), full_precision(self.device.type):
            log_density: Tensor = self.network.eval()(image.to(self.device), size, **known)
        return log_density.cpu()

    @property
    def _tested(self) -> Any:
        """The data set whose test images are scored."""
        return self.trainer.datamodule.images["test"].dataset  # type: ignore[attr-defined]

    def _others(self, batch: FixationBatch) -> Tensor:
        images = 10 if self.score.protocol == "mit" else None
        height, width = batch.density.shape[-2:]
        counts = [
            self._tested.other_images_counts("test", name, (height, width), images)
            for name in batch.name
        ]
        return torch.stack(counts).to(batch.fixations)

    @staticmethod
    def _predict(network: nn.Module | CompiledForward, batch: FixationBatch) -> Tensor:
        height, width = batch.density.shape[-2:]
        known = {"name": batch.name} if isinstance(network, Baseline) else {}
        log_density: Tensor = network(batch.image, (height, width), **known)
        return log_density


def one_cycle_schedule(optimizer: Optimizer, steps: int, warmup: float = 0.3) -> LRScheduler:
    """Warm up and anneal every group from its own learning rate (Smith & Topin 2018)."""
    peaks = [group["lr"] for group in optimizer.param_groups]
    return OneCycleLR(optimizer, peaks, total_steps=steps, pct_start=warmup)
