"""The training objective: a weighted, signed sum of the scores themselves."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from deepsal.metrics import functional
from deepsal.metrics.functional import MapBatch


class SaliencyLoss(nn.Module):
    """What training minimises: kl·KL − cc·CC − nss·NSS − sim·SIM, averaged over the batch.

    Weights are positive; the sign of each term is built in, so a score that should rise cannot be
    minimised by mistake. Computed in float32 also under autocast.

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
        self, log_density: MapBatch, density: MapBatch, fixations: MapBatch, check: bool = True
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and the batch mean of each of its terms (detached, unweighted).

        Args:
            log_density: (B, H, W).
            density: (B, H, W).
            fixations: (B, H, W), counts.
            check: whether to read the terms, for which the host waits for a GPU.

        Raises:
            FloatingPointError: a term is not finite; the message names it.
        """
        truth = {"kl": density, "cc": density, "sim": density, "nss": fixations}
        terms = {
            name: getattr(functional, name)(log_density, truth[name]).mean()
            for name, weight in self.weights.items()
            if weight
        }
        if check:
            require_finite({name: term.item() for name, term in terms.items()})
        loss = sum(
            (weight if name == "kl" else -weight) * terms[name]
            for name, weight in self.weights.items()
            if weight
        )
        assert isinstance(loss, Tensor)
        return loss, {name: term.detach() for name, term in terms.items()}


def require_finite(terms: Mapping[str, float]) -> None:
    """Raise FloatingPointError if a term of a loss is not finite; the message names it.

    >>> require_finite({"kl": 1.0, "nss": -2.0})
    """
    for name, term in terms.items():
        if not math.isfinite(term):
            raise FloatingPointError(f"the loss term {name} is {term}")


class PendingLossTerms(NamedTuple):
    """Terms of a step's loss on their way to the host, which does not wait for them.

    values: (n,) on the CPU, once `arrived` has happened · names: of the terms · at: where in the
    training.
    """

    values: Tensor
    names: list[str]
    at: str
    arrived: torch.Event | None

    @classmethod
    def of(cls, terms: Mapping[str, Tensor], at: str) -> "PendingLossTerms":
        """Begin to copy the terms."""
        values = torch.stack([*terms.values()])
        on_host = values.to("cpu", non_blocking=True)
        queued = values.device.type != "cpu"
        arrived = torch.accelerator.current_stream().record_event() if queued else None
        return cls(on_host, [*terms], at, arrived)

    def check(self) -> None:
        """Wait for the copy; raise FloatingPointError if a term is not finite."""
        if self.arrived:
            self.arrived.synchronize()
        try:
            require_finite(dict(zip(self.names, self.values.tolist(), strict=True)))
        except FloatingPointError as error:
            raise FloatingPointError(f"{error} at {self.at}") from None
