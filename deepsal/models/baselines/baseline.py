"""Baselines that every saliency network must beat; they learn nothing by gradient."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from deepsal.data.batch import MapBatch
from deepsal.data.dataset import SaliencyDataset

ImageBatch = Float[Tensor, "B 3 h w"]

EIGHT_BIT_FLOOR = 1 / 510
"""Half a level of an 8-bit map, as a fraction of its maximum."""


def to_log_density(
    saliency: Float[Tensor, "B h w"], size: tuple[int, int], floor: float = EIGHT_BIT_FLOOR
) -> MapBatch:
    """Return the log density that is proportional to a saliency map.

    The map is resized bilinearly, `floor` times its maximum is added, and it is divided by its sum.
    That is affine, so NSS, AUC and CC are those of the saliency map; only KL, SIM and information
    gain depend on the floor. A map of zeros gives the uniform density.

    Args:
        saliency: 0 or more, B maps of any size.
        size: (H, W) of the result.
        floor: as a fraction of each map's maximum.

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
    """A predictor that learns nothing by gradient, prepared once for each data set."""

    def prepare(self, dataset: SaliencyDataset) -> "Baseline":
        """Fit the baseline to a data set, before the first image; return self."""
        return self

    def settings(self) -> dict[str, Any]:
        """Return what `prepare` chose, and from which images, as plain values; {} for nothing."""
        return {}

    def skips(self, name: str) -> bool:
        """Return whether a test leaves an image out, because the baseline has nothing for it."""
        return False

    def forward(
        self, image: ImageBatch, size: tuple[int, int] | None = None, name: Sequence[str] = ()
    ) -> MapBatch:
        """Return the log density at `size` (default: the image's own), `(B, H, W)`, float32.

        Args:
            image: values in [0, 1].
            size: (H, W) of the result.
            name: of each image, for baselines that look images up by name.
        """
        height, width = size or image.shape[-2:]
        with torch.autocast(image.device.type, enabled=False):
            return self.predict(image.float(), (height, width), name)

    @abstractmethod
    def predict(self, image: ImageBatch, size: tuple[int, int], name: Sequence[str]) -> MapBatch:
        """Return the log density; see `forward`."""

    @property
    def backbone(self) -> nn.Module:
        """Raise ValueError: a baseline has no stages to train, watch or measure claims on."""
        raise ValueError(
            f"{type(self).__name__} is a baseline: it has no stages to train, watch or measure "
            "claims on; use do=[test]"
        )
