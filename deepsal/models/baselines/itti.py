"""The saliency model of Itti, Koch & Niebur 1998 (IEEE PAMI 20(11):1254-1259)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate, max_pool2d
from typing_extensions import override

from deepsal.data.batch import MapBatch
from deepsal.models.baselines.baseline import Baseline, ImageBatch, to_log_density
from deepsal.models.baselines.early_vision import (
    FeatureMaps,
    gabor_magnitudes,
    gaussian_pyramid,
    opponent_channels,
    resize_longer_side,
    scale_to_unit_range,
)

PYRAMID_LEVELS = 9
CENTRE_LEVELS, SURROUND_DELTAS = (2, 3, 4), (3, 4)
SALIENCY_LEVEL = 4
"""The pyramid level of the conspicuity maps and of the saliency map."""


class Itti(Baseline):
    """Saliency as unique feature contrast in intensity, two colours and four orientations.

    1. Pyramids of nine levels of the image at 640 pixels (the paper's 640x480).
    2. 42 contrast maps: differences between centre levels 2, 3, 4 and surround levels 3 or 4 above
       them. Colour contrast is |RG(c) − RG(s)|, double opponency, so a red bar among green bars of
       the same contrast is not unique.
    3. `promote_unique_peaks` of each map, sums per channel at level 4, and the mean of the three
       channels after `promote_unique_peaks`.

    Parameters of the Gabors that the paper does not state are in
    `deepsal.models.baselines.early_vision`.

    Args:
        longest: pixels of the longer side that the image is resized to.
    """

    def __init__(self, longest: int = 640) -> None:
        super().__init__()
        self.longest = longest

    @override
    def predict(self, image: ImageBatch, size: tuple[int, int], name: Sequence[str]) -> MapBatch:
        return to_log_density(self.saliency(image), size)

    def saliency(self, image: ImageBatch) -> MapBatch:
        """Return the saliency map at level 4 of the pyramid, 0 or more."""
        colours = gaussian_pyramid(
            opponent_channels(resize_longer_side(image, self.longest)), PYRAMID_LEVELS
        )
        levels = [torch.cat([level, gabor_magnitudes(level[:, :1])], dim=1) for level in colours]
        grid = levels[SALIENCY_LEVEL].shape[-2:]
        total = levels[SALIENCY_LEVEL].new_zeros(levels[SALIENCY_LEVEL].shape)
        for c in CENTRE_LEVELS:
            for delta in SURROUND_DELTAS:
                surround = interpolate(levels[c + delta], levels[c].shape[-2:], mode="bilinear")
                contrast = promote_unique_peaks((levels[c] - surround).abs())
                total += interpolate(contrast, grid, mode="area")
        intensity, colour = total[:, :1], total[:, 1:3].sum(1, keepdim=True)
        contours = promote_unique_peaks(total[:, 3:]).sum(1, keepdim=True)
        return promote_unique_peaks(torch.cat([intensity, colour, contours], dim=1)).mean(1)


def promote_unique_peaks(maps: FeatureMaps) -> Float[Tensor, "B C h w"]:
    """Promote maps with one strong peak over maps with many: the normalisation N(·) of the paper.

    Each map is scaled to [0, 1] and multiplied by (1 − m̄)². m̄ is the mean of its local maxima other
    than the largest; a local maximum is above 0 and not below its eight neighbours. A constant map
    gives 0.

    >>> peaks = torch.zeros(1, 2, 5, 5)
    >>> peaks[0, 0, 1, 1] = peaks[0, 1, 1, 1] = peaks[0, 1, 3, 3] = 2
    >>> promote_unique_peaks(peaks).amax((-2, -1))
    tensor([[1., 0.]])
    """
    x = scale_to_unit_range(maps, (-2, -1))
    peak = (x == max_pool2d(x, 3, stride=1, padding=1)) & (x > 0)
    count, total = peak.sum((-2, -1)), (x * peak).sum((-2, -1))
    mean = (total - x.amax((-2, -1))) / (count - 1).clamp_min(1)
    return x * (1 - mean)[..., None, None].square()
