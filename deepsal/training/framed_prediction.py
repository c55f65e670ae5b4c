"""Prediction for images with padding: a density over the image's part alone.

The padding is filled with the mean colour of the network's weights, which is 0 after
normalisation. What the network predicts there is left out, and the rest is normalised again.
"""

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from deepsal.data.batch import ImageRegion, MapBatch
from deepsal.data.frame import region_mask
from deepsal.models import Baseline

Forward = Callable[..., Tensor]
"""Images (B, 3, h, w) in [0, 1] and a size → log density at that size."""


def predict_log_density(
    network: nn.Module,
    image: Float[Tensor, "B 3 h w"],
    size: tuple[int, int],
    names: Sequence[str],
    regions: Sequence[ImageRegion] | None = None,
    forward: Forward | None = None,
) -> MapBatch:
    """Return the log density over the pixels of images.

    Args:
        network: a saliency network, or a baseline, which receives the image's part alone.
        image: values in [0, 1].
        size: (H, W) of the result: that of the stored image, or with padding also (h, w). The
            latter is −∞ in the padding.
        names: of the B images, for baselines that read stored maps.
        regions: of the images in `image`; None for images without padding. For a result at the
            stored image's size, all must be equal.
        forward: stands for the network, such as its compiled form.

    Returns:
        (B, H, W).
    """
    forward, frame = forward or network, (image.shape[-2], image.shape[-1])
    if isinstance(network, Baseline):
        if regions:
            rows, columns = regions[0].slices()
            image = image[..., rows, columns]
        return forward(image, size, name=names)
    if regions is None:
        return forward(image, size)
    mask = region_mask(regions, frame, image.device)
    image = torch.where(mask[:, None], image, network.get_buffer("backbone.mean"))
    if size == frame:
        return normalise_in_mask(forward(image, frame), mask)
    top, left, height, width = regions[0]
    above = round(top * size[0] / height)
    before = round(left * size[1] / width)
    whole = forward(image, (size[0] + 2 * above, size[1] + 2 * before))
    part = whole[..., above : above + size[0], before : before + size[1]]
    return part.flatten(1).log_softmax(1).view_as(part)


def normalise_in_mask(log_density: MapBatch, mask: Tensor) -> MapBatch:
    """Return the log density within a mask, normalised; −∞ outside, without a gradient there.

    >>> inside = torch.tensor([[[True, True, False]]])
    >>> normalise_in_mask(torch.tensor([[[0.25, 0.25, 0.5]]]).log(), inside).exp().tolist()
    [[[0.5, 0.5, 0.0]]]
    """
    inside = log_density.masked_fill(~mask, -math.inf)
    return inside - inside.logsumexp((-2, -1), keepdim=True)
