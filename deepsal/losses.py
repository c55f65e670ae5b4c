"""The training objective: a weighted, signed sum of the scores themselves."""

from torch import Tensor, nn

from deepsal import functional
from deepsal.functional import Map


class SaliencyLoss(nn.Module):
    """What training minimises: kl·KL − cc·CC − nss·NSS − sim·SIM, averaged over the batch.

    Weights are positive; the sign of each term is built in, so a score that should rise cannot be
    minimised by mistake. Computed in float32 also under autocast.

    Args:
        kl, cc, nss, sim: weight of each term; a term of weight 0 is not computed.
        name: the preset's name, for tables.

    Raises:
        ValueError: a weight is negative, or all are 0.
    """

    def __init__(
        self, kl: float = 0.0, cc: float = 0.0, nss: float = 0.0, sim: float = 0.0, name: str = ""
    ) -> None:
        super().__init__()
        self.name = name
        self.weights = {"kl": kl, "cc": cc, "nss": nss, "sim": sim}
        if any(weight < 0 for weight in self.weights.values()) or not any(self.weights.values()):
            raise ValueError(
                f"loss weights must be ≥ 0 and not all 0 (signs are built in), got {self.weights}"
            )

    def forward(
        self, log_density: Map, density: Map, fixations: Map
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and the batch mean of each of its terms (detached, unweighted).

        Shapes: all `(B, H, W)`. Raises FloatingPointError naming the term that is not finite.
        """
        truth = {"kl": density, "cc": density, "sim": density, "nss": fixations}
        terms = {
            name: getattr(functional, name)(log_density, truth[name]).mean()
            for name, weight in self.weights.items()
            if weight
        }
        for name, term in terms.items():
            if not term.isfinite():
                raise FloatingPointError(f"the loss term {name} is {term.item()}")
        loss = sum(
            (weight if name == "kl" else -weight) * terms[name]
            for name, weight in self.weights.items()
            if weight
        )
        assert isinstance(loss, Tensor)
        return loss, {name: term.detach() for name, term in terms.items()}
