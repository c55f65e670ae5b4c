"""Scores accumulated over a data set: torchmetrics shells over `deepsal.functional`."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from deepsal import functional
from deepsal.functional import Map, Score

SCORES = ("nss", "cc", "kl", "sim", "auc")
"""The scores in the order in which tables show them."""


def scores(
    log_density: Map, density: Map, fixations: Map, names: Sequence[str] = SCORES
) -> dict[str, Score]:
    """Every named score of each image, `{name: (B,)}`; see `deepsal.functional` for definitions."""
    truth = {"kl": density, "cc": density, "sim": density, "nss": fixations, "auc": fixations}
    if unknown := [name for name in names if name not in truth]:
        raise ValueError(f"unknown scores {unknown}; the choices are {list(truth)}")
    return {name: getattr(functional, name)(log_density, truth[name]) for name in names}


class SaliencyMetrics(Metric):
    """The mean of each score over all images seen on all ranks.

    Sums and counts are the state, so ranks may hold different numbers of images, also none.
    Undefined scores (images without a fixation) are left out of the mean and counted.
    """

    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self, names: Sequence[str] = ("nss", "cc", "kl")) -> None:
        super().__init__()
        self.names = tuple(names)
        zeros = torch.zeros(len(self.names), dtype=torch.float64)
        self.add_state("total", zeros, dist_reduce_fx="sum")
        self.add_state("count", zeros.clone(), dist_reduce_fx="sum")

    def update(self, log_density: Map, density: Map, fixations: Map) -> None:
        """Add a batch; shapes as in `deepsal.functional`."""
        values = scores(log_density, density, fixations, self.names)
        table = torch.stack([values[name] for name in self.names]).double()
        self.total += table.nansum(1)
        self.count += table.isfinite().sum(1)

    def compute(self) -> dict[str, Tensor]:
        """Return `{score: mean over images}`, NaN where no image had the score."""
        return dict(zip(self.names, (self.total / self.count).float(), strict=True))
