"""What a saliency network must beat: chance and the centre. They learn nothing by gradient."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

MapBatch = Float[Tensor, "B H W"]
ImageBatch = Float[Tensor, "B 3 h w"]

EIGHT_BIT_FLOOR = 1 / 510
"""Half a level of an 8-bit map, as a fraction of its maximum."""


@runtime_checkable
class FixationDataset(Protocol):
    """What a baseline needs of a data set; see `deepsal.data.SaliencyDataset`."""

    @property
    def stimuli(self) -> Sequence[Any]:
        """All images: each with a name, a size (height, width), fixations and observers."""

    @property
    def splits(self) -> Mapping[str, Sequence[int]]:
        """Positions of the train, val and test images."""

    @property
    def sigma(self) -> float:
        """Standard deviation of the ground truth's blur in pixels."""


def to_log_density(
    saliency: Float[Tensor, "B h w"], size: tuple[int, int], floor: float = EIGHT_BIT_FLOOR
) -> MapBatch:
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

    def prepare(self, dataset: FixationDataset) -> "Baseline":
        """Take what the baseline needs of a data set, before the first image; return self."""
        return self

    def forward(
        self, image: ImageBatch, size: tuple[int, int] | None = None, name: Sequence[str] = ()
    ) -> MapBatch:
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
    def predict(self, image: ImageBatch, size: tuple[int, int], name: Sequence[str]) -> MapBatch:
        """Return the log density; see `forward`."""

    @property
    def backbone(self) -> nn.Module:
        """Refuse what needs stages: training, claims, watching."""
        raise ValueError(
            f"{type(self).__name__} is a baseline: it has no stages to train, watch or measure "
            "claims on; use do=[test]"
        )
