"""The centre prior and the uniform density."""

import zlib
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from deepsal.data.batch import MapBatch
from deepsal.data.dataset import SaliencyDataset, Stimulus
from deepsal.models.baselines.baseline import Baseline, ImageBatch

CENTRE_BANDWIDTHS = tuple(round(0.01 * 2 ** (i / 4), 4) for i in range(17))
UNIFORM_WEIGHTS = (0.0001, 0.001, 0.01, 0.03, 0.1, 0.3)


class Uniform(Baseline):
    """Chance: every pixel is equally likely."""

    @override
    def predict(self, image: ImageBatch, size: tuple[int, int], name: Sequence[str]) -> MapBatch:
        return image.new_zeros(len(image), *size) - torch.tensor(size[0] * size[1]).log()


class Centre(Baseline):
    """The centre prior: density of the fixations on *other* images, whatever this one shows.

    It is (1 − u) · Gaussian kernel density + u · uniform of all training fixations, in coordinates
    relative to the image, on a grid of 64x64 cells. For a training image, its own fixations are
    left out. A data set without training images gives those on its other test images. Where they
    are None, the bandwidth of the kernel and u are those of `CENTRE_BANDWIDTHS` and
    `UNIFORM_WEIGHTS` with the largest leave-one-image-out likelihood of these fixations.

    Args:
        bandwidth: standard deviation of the kernel as a fraction of each side.
        uniform_weight: u.

    Attributes:
        bandwidth, uniform_weight: those in use, after `prepare`.
    """

    GRID_SIDE = 64

    def __init__(self, bandwidth: float | None = None, uniform_weight: float | None = None) -> None:
        super().__init__()
        self.bandwidth = bandwidth
        self.uniform_weight = uniform_weight
        self.rows: dict[str, int] = {}
        self.source: dict[str, str] = {}

    @override
    def prepare(self, dataset: SaliencyDataset) -> "Centre":
        split = "train" if dataset.splits["train"] else "test"
        stimuli = [dataset.stimuli[i] for i in dataset.splits[split]]
        if len(stimuli) < (1 if split == "train" else 2) or dataset.fixations_hidden:
            raise ValueError(
                "the centre prior needs training fixations, and this data set has none; "
                "take those of another set: data=osie data@tested=NAME"
            )
        kind = "training images" if split == "train" else "other test images"
        self.source = {"dataset": dataset.name, "images": f"{len(stimuli)} {kind}"}
        self.rows = {stimulus.name: row for row, stimulus in enumerate(stimuli)}
        self.counts = torch.stack([self._cells(s) for s in stimuli])
        if self.bandwidth is None or self.uniform_weight is None:
            self.bandwidth, self.uniform_weight = self._fit_parameters()
        blur = self._kernel(self.bandwidth)
        self.blurred_counts = blur @ self.counts.sum(0) @ blur
        return self

    @override
    def settings(self) -> dict[str, Any]:
        """Return data set, images, bandwidth, weight, and a checksum of the fixations."""
        fixations = f"{zlib.crc32(self.counts.sum(0).numpy().tobytes()):08x}"
        chosen = {"bandwidth": self.bandwidth, "uniform_weight": self.uniform_weight}
        return {**self.source, **chosen, "fixations": fixations}

    def density_grid(self, name: str | None = None) -> Float[Tensor, "G G"]:
        """Return the density on the grid, without the image of that name; it sums to one."""
        if not self.rows:
            raise ValueError("Centre has no fixations yet: call prepare(dataset) first")
        assert self.bandwidth is not None
        assert self.uniform_weight is not None
        density = self.blurred_counts
        if name in self.rows and len(self.rows) > 1:
            blur = self._kernel(self.bandwidth)
            density = (density - blur @ self.counts[self.rows[name]] @ blur).clamp_min(0)
        flat = self.uniform_weight / self.GRID_SIDE**2
        return (1 - self.uniform_weight) * density / density.sum() + flat

    @override
    def predict(self, image: ImageBatch, size: tuple[int, int], name: Sequence[str]) -> MapBatch:
        grids = [self.density_grid(n).log().float() for n in name]
        one = torch.stack(grids or [self.density_grid().log().float()] * len(image)).to(
            image.device
        )
        x = nn.functional.interpolate(one[:, None], size, mode="bilinear")[:, 0]
        return x.flatten(1).log_softmax(1).view_as(x)

    def _fit_parameters(self) -> tuple[float, float]:
        """Return the bandwidth and weight with the largest leave-one-image-out likelihood."""
        bandwidths = CENTRE_BANDWIDTHS if self.bandwidth is None else (self.bandwidth,)
        weights = UNIFORM_WEIGHTS if self.uniform_weight is None else (self.uniform_weight,)
        fixated = self.counts > 0
        counts, likelihoods = self.counts[fixated], []
        for bandwidth in bandwidths:
            blur = self._kernel(bandwidth)
            own = blur @ self.counts @ blur
            others = own.sum(0) - own if len(own) > 1 else own
            density = (others.clamp_min(0) / others.sum((-2, -1), keepdim=True))[fixated]
            for u in weights:
                mixed = (1 - u) * density + u / self.GRID_SIDE**2
                likelihoods.append(((counts * mixed.log()).sum().item(), bandwidth, u))
        return max(likelihoods)[1:]

    def _kernel(self, bandwidth: float) -> Float[Tensor, "G G"]:
        at = (torch.arange(self.GRID_SIDE, dtype=torch.float64) + 0.5) / self.GRID_SIDE
        return torch.exp(-0.5 * ((at[:, None] - at) / bandwidth).square())

    def _cells(self, stimulus: Stimulus) -> Float[Tensor, "G G"]:
        """Count an image's fixations in the cells of the grid."""
        fraction = torch.from_numpy(stimulus.fixations + 0.5)
        fraction = fraction / torch.tensor([stimulus.size[1], stimulus.size[0]])
        column, row = (fraction * self.GRID_SIDE).long().clamp(0, self.GRID_SIDE - 1).T
        cells = torch.bincount(row * self.GRID_SIDE + column, minlength=self.GRID_SIDE**2)
        return cells.double().view(self.GRID_SIDE, self.GRID_SIDE)
