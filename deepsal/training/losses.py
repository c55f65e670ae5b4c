"""Training objective: a weighted, signed sum of scores."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from deepsal.metrics import functional
from deepsal.metrics.functional import ImageScores, MapBatch, PixelMask


class SaliencyLoss(nn.Module):
    """Training objective kl·KL − cc·CC − nss·NSS − sim·SIM, averaged over the batch.

    Weights are positive. The sign of each term is built in, so that a score that should rise cannot
    be minimised by mistake. The terms are computed in float32, also under autocast.

    Args:
        kl, cc, nss, sim: weight of each term; a term of weight 0 is not computed.

    Raises:
        ValueError: a weight is negative, or all are 0.
    """

    def __init__(
        self, kl: float = 0.0, cc: float = 0.0, nss: float = 0.0, sim: float = 0.0
    ) -> None:
        super().__init__()
        self.weights = {"kl": kl, "cc": cc, "nss": nss, "sim": sim}
        if any(weight < 0 for weight in self.weights.values()) or not any(self.weights.values()):
            raise ValueError(
                f"loss weights must be ≥ 0 and not all 0 (signs are built in), got {self.weights}"
            )

    def forward(
        self,
        log_density: MapBatch,
        density: MapBatch,
        fixations: MapBatch,
        mask: PixelMask | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and the batch mean of each of its terms (detached, unweighted).

        They may be infinite or NaN; `PendingLossTerms` checks the terms without a wait for a GPU.

        Args:
            log_density: (B, H, W).
            density: (B, H, W).
            fixations: (B, H, W), counts.
            mask: (B, H, W), the pixels of the images; the densities are 0 at the others. None for
                all.
        """
        truth = {"kl": density, "cc": density, "sim": density, "nss": fixations}
        terms = {
            name: self._score(name, log_density, truth[name], mask).mean()
            for name, weight in self.weights.items()
            if weight
        }
        loss = sum(
            (weight if name == "kl" else -weight) * terms[name]
            for name, weight in self.weights.items()
            if weight
        )
        assert isinstance(loss, Tensor)
        return loss, {name: term.detach() for name, term in terms.items()}

    @staticmethod
    def _score(
        name: str, log_density: MapBatch, truth: MapBatch, mask: PixelMask | None
    ) -> ImageScores:
        options = {"mask": mask} if name in ("cc", "nss") else {}
        values: ImageScores = getattr(functional, name)(log_density, truth, **options)
        return values


class PendingLossTerms(NamedTuple):
    """Loss terms of a step on their way to the host, which does not wait for them.

    values: (n,) on the CPU, complete once `copy_event` has happened · names: of the n terms ·
    position: in the training, such as "epoch 2, step 3" · copy_event: None on a CPU.
    """

    values: Tensor
    names: list[str]
    position: str
    copy_event: torch.Event | None

    @classmethod
    def begin_copy(cls, terms: Mapping[str, Tensor], position: str) -> "PendingLossTerms":
        """Begin to copy loss terms from the device to the host."""
        values = torch.stack([*terms.values()])
        on_host = values.to("cpu", non_blocking=True)
        queued = values.device.type != "cpu"
        event = torch.accelerator.current_stream().record_event() if queued else None
        return cls(on_host, [*terms], position, event)

    def require_finite(self) -> None:
        """Wait for the copy, and raise FloatingPointError if a term is not finite.

        >>> PendingLossTerms.begin_copy({"nss": torch.tensor(1 / 2)}, "step 3").require_finite()
        """
        if self.copy_event:
            self.copy_event.synchronize()
        for name, term in zip(self.names, self.values.tolist(), strict=True):
            if not math.isfinite(term):
                raise FloatingPointError(f"the loss term {name} is {term} at {self.position}")
