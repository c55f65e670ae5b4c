"""The centre prior and the uniform density."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from deepsal.models.baselines.baseline import Baseline, FixationDataset, ImageBatch, MapBatch

CENTRE_BANDWIDTHS = tuple(round(0.01 * 2 ** (i / 4), 4) for i in range(17))
UNIFORM_WEIGHTS = (0.0001, 0.001, 0.01, 0.03, 0.1, 0.3)


class Uniform(Baseline):
    """Chance: every pixel is equally likely."""

    @override
    def predict(self, image: ImageBatch, size: tuple[int, int], name: Sequence[str]) -> MapBatch:
        return image.new_zeros(len(image), *size) - torch.tensor(size[0] * size[1]).log()


class Centre(Baseline):
    """The centre prior: where people look in *other* images, whatever this one shows.

    (1 − u) · Gaussian kernel density + u · uniform, in coordinates relative to the image, on a grid
    of 64x64 cells, of all training fixations; for a training image, of all other training images'.
    The kernel's bandwidth and u are those among `CENTRE_BANDWIDTHS` and `UNIFORM_WEIGHTS` with the
    largest leave-one-image-out likelihood of the training fixations, unless given.

    Args:
        bandwidth: the kernel's standard deviation as a fraction of each side.
        uniform: u.

    Attributes:
        bandwidth, uniform: those in use, after `prepare`.
    """

    GRID = 64

    def __init__(self, bandwidth: float | None = None, uniform: float | None = None) -> None:
        super().__init__()
        self.bandwidth = bandwidth
        self.uniform = uniform
        self.rows: dict[str, int] = {}

    @override
    def prepare(self, dataset: FixationDataset) -> "Centre":
        stimuli = [dataset.stimuli[i] for i in dataset.splits["train"]]
        if not stimuli:
            raise ValueError(
                "the centre prior is made of training fixations, and this data set has none; "
                "take them from another one, as data=osie data@tested=NAME"
            )
        self.rows = {stimulus.name: row for row, stimulus in enumerate(stimuli)}
        self.counts = torch.stack([self._cells(s) for s in stimuli])
        if self.bandwidth is None or self.uniform is None:
            self.bandwidth, self.uniform = self._best()
        blur = self._kernel(self.bandwidth)
        self.all = blur @ self.counts.sum(0) @ blur
        return self

    def grid(self, name: str | None = None) -> Float[Tensor, "G G"]:
        """Return the density on the grid, without the image of that name; it sums to one."""
        if not self.rows:
            raise ValueError("Centre knows no fixations yet: call prepare(dataset) first")
        assert self.bandwidth is not None
        assert self.uniform is not None
        density = self.all
        if name in self.rows and len(self.rows) > 1:
            blur = self._kernel(self.bandwidth)
            density = (density - blur @ self.counts[self.rows[name]] @ blur).clamp_min(0)
        flat = self.uniform / self.GRID**2
        return (1 - self.uniform) * density / density.sum() + flat

    @override
    def predict(self, image: ImageBatch, size: tuple[int, int], name: Sequence[str]) -> MapBatch:
        grids = [self.grid(n).log().float() for n in name]
        one = torch.stack(grids or [self.grid().log().float()] * len(image)).to(image.device)
        x = nn.functional.interpolate(one[:, None], size, mode="bilinear")[:, 0]
        return x.flatten(1).log_softmax(1).view_as(x)

    def _best(self) -> tuple[float, float]:
        """Return the bandwidth and weight with the largest leave-one-image-out likelihood."""
        bandwidths = CENTRE_BANDWIDTHS if self.bandwidth is None else (self.bandwidth,)
        weights = UNIFORM_WEIGHTS if self.uniform is None else (self.uniform,)
        looked = self.counts > 0
        counts, found = self.counts[looked], []
        for bandwidth in bandwidths:
            blur = self._kernel(bandwidth)
            own = blur @ self.counts @ blur
            others = own.sum(0) - own if len(own) > 1 else own
            density = (others.clamp_min(0) / others.sum((-2, -1), keepdim=True))[looked]
            for u in weights:
                mixed = (1 - u) * density + u / self.GRID**2
                found.append(((counts * mixed.log()).sum().item(), bandwidth, u))
        return max(found)[1:]

    def _kernel(self, bandwidth: float) -> Float[Tensor, "G G"]:
        at = (torch.arange(self.GRID, dtype=torch.float64) + 0.5) / self.GRID
        return torch.exp(-0.5 * ((at[:, None] - at) / bandwidth).square())

    def _cells(self, stimulus: Any) -> Float[Tensor, "G G"]:
        """Count an image's fixations in the cells of the grid."""
        fraction = torch.from_numpy(stimulus.fixations + 0.5)
        fraction = fraction / torch.tensor([stimulus.size[1], stimulus.size[0]])
        column, row = (fraction * self.GRID).long().clamp(0, self.GRID - 1).T
        cells = torch.bincount(row * self.GRID + column, minlength=self.GRID**2)
        return cells.double().view(self.GRID, self.GRID)
