"""What a saliency network must beat: chance and the centre. They learn nothing by gradient."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

Map = Float[Tensor, "B H W"]
Image = Float[Tensor, "B 3 h w"]

BANDWIDTHS = tuple(round(0.01 * 2 ** (i / 4), 4) for i in range(17))
UNIFORM = (0.0001, 0.001, 0.01, 0.03, 0.1, 0.3)
FLOOR = 1 / 510
"""Half a level of an 8-bit map, as a fraction of its maximum."""


@runtime_checkable
class Dataset(Protocol):
    """What a baseline needs of a data set; see `deepsal.data.SaliencyDataset`."""

    @property
    def stimuli(self) -> Sequence[Any]:
        """All images: each with a name, a size (height, width), fixations and subjects."""

    @property
    def splits(self) -> Mapping[str, Sequence[int]]:
        """Positions of the train, val and test images."""

    @property
    def sigma(self) -> float:
        """Standard deviation of the ground truth's blur in pixels."""


def to_log_density(
    saliency: Float[Tensor, "B h w"], size: tuple[int, int], floor: float = FLOOR
) -> Map:
    """Make a saliency map a log density: the one place where this is done.

    The map is resized bilinearly, gets `floor` times its maximum added, and is divided by its sum.
    That is affine, so NSS, AUC and CC are the saliency map's own; only KL, SIM and information
    gain depend on the floor. A map of zeros gives the uniform density.

    >>> to_log_density(torch.tensor([[[1.0, 3.0]]]), (1, 2), floor=0.0).exp()
    tensor([[[0.2500, 0.7500]]])
    """
    if saliency.shape[-2:] != size:
        x = nn.functional.interpolate(saliency[:, None], size, mode="bilinear", antialias=True)
        saliency = x[:, 0].clamp_min(0)
    top = saliency.amax((-2, -1), keepdim=True)
    lifted = saliency / top.masked_fill(top == 0, 1) + torch.where(top == 0, 1.0, floor)
    density = lifted / lifted.sum((-2, -1), keepdim=True)
    return density.clamp_min(torch.finfo(density.dtype).tiny).log()


class Baseline(nn.Module, ABC):
    """A network that learns nothing: told of the data set once, and which image it sees."""

    def prepare(self, dataset: Dataset) -> "Baseline":
        """Take what the baseline needs of a data set, before the first image; return self."""
        return self

    def forward(
        self, image: Image, size: tuple[int, int] | None = None, name: Sequence[str] = ()
    ) -> Map:
        """Return the log density at `size` (default: the image's own), `(B, H, W)`, float32.

        Args:
            image: values in [0, 1].
            size: (H, W) of the result.
            name: of each image, for baselines that know images by name.
        """
        height, width = size or image.shape[-2:]
        with torch.autocast(image.device.type, enabled=False):
            return self.predict(image.float(), (height, width), name)

    @abstractmethod
    def predict(self, image: Image, size: tuple[int, int], name: Sequence[str]) -> Map:
        """Return the log density; see `forward`."""

    @property
    def backbone(self) -> nn.Module:
        """Refuse what needs stages: training, probing, watching."""
        raise ValueError(
            f"{type(self).__name__} is a baseline: it has no stages to train, probe or watch; "
            "use do=[test]"
        )


class Uniform(Baseline):
    """Chance: every pixel is equally likely."""

    @override
    def predict(self, image: Image, size: tuple[int, int], name: Sequence[str]) -> Map:
        return image.new_zeros(len(image), *size) - torch.tensor(size[0] * size[1]).log()


class Centre(Baseline):
    """The centre prior: where people look in *other* images, whatever this one shows.

    (1 − u) · Gaussian kernel density + u · uniform, in coordinates relative to the image, on a grid
    of 64x64 cells, of all training fixations; for a training image, of all other training images'.
    The kernel's bandwidth and u are those among `BANDWIDTHS` and `UNIFORM` with the largest
    leave-one-image-out likelihood of the training fixations, unless given.

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
    def prepare(self, dataset: Dataset) -> "Centre":
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
    def predict(self, image: Image, size: tuple[int, int], name: Sequence[str]) -> Map:
        grids = [self.grid(n).log().float() for n in name]
        one = torch.stack(grids or [self.grid().log().float()] * len(image)).to(image.device)
        x = nn.functional.interpolate(one[:, None], size, mode="bilinear")[:, 0]
        return x.flatten(1).log_softmax(1).view_as(x)

    def _best(self) -> tuple[float, float]:
        """Return the bandwidth and weight with the largest leave-one-image-out likelihood."""
        bandwidths = BANDWIDTHS if self.bandwidth is None else (self.bandwidth,)
        weights = UNIFORM if self.uniform is None else (self.uniform,)
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
