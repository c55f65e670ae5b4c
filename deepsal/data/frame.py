"""Place of an image in the network's image, whose shape may differ: padded, or cut to cover it.

Letters in shapes: B images, a frame of h × w pixels, which is the network's image.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool
from torch import Tensor

from deepsal.data.batch import ImageRegion


def padded_region(size: tuple[int, int], frame: tuple[int, int]) -> ImageRegion:
    """Return the part of a frame that a whole image fills, scaled with its shape kept.

    The image is in the middle. The padding has the same width on opposite sides, so that a flipped
    image lies where the image does. That can move a side by one pixel.

    Args:
        size: (height, width) of the image.
        frame: (h, w).

    >>> padded_region((400, 300), (192, 256))
    ImageRegion(top=0, left=56, height=192, width=144)
    """
    scale = min(frame[0] / size[0], frame[1] / size[1])
    top, left = (
        min(round((whole - side * scale) / 2), (whole - 1) // 2)
        for side, whole in zip(size, frame, strict=True)
    )
    return ImageRegion(top, left, frame[0] - 2 * top, frame[1] - 2 * left)


def covering_size(size: tuple[int, int], frame: tuple[int, int]) -> tuple[int, int]:
    """Return the size of an image that is scaled, with its shape kept, until it covers a frame.

    Args:
        size: (height, width) of the image.
        frame: (h, w).

    >>> covering_size((400, 300), (192, 256))
    (341, 256)
    """
    scale = max(frame[0] / size[0], frame[1] / size[1])
    height, width = (
        max(whole, round(side * scale)) for side, whole in zip(size, frame, strict=True)
    )
    return height, width


def place_in_frame(image: Tensor, frame: tuple[int, int], region: ImageRegion) -> Tensor:
    """Return maps (…, height, width) in a frame (…, h, w) of zeros; the frame itself if whole."""
    if region.fills(frame):
        return image
    framed = image.new_zeros(*image.shape[:-2], *frame)
    framed[(..., *region.slices())] = image
    return framed


def region_mask(
    regions: Sequence[ImageRegion], frame: tuple[int, int], device: torch.device
) -> Bool[Tensor, "B h w"]:
    """Return True at the pixels of a frame that are the image's, and False at the padding's.

    >>> region_mask([ImageRegion(0, 1, 1, 2)], (1, 4), torch.device("cpu")).tolist()
    [[[False, True, True, False]]]
    """
    edges = torch.tensor(regions).to(device, non_blocking=True)
    top, left, height, width = edges.T[..., None]
    y, x = (torch.arange(side, device=device) for side in frame)
    rows, columns = (y >= top) & (y < top + height), (x >= left) & (x < left + width)
    mask: Tensor = rows[:, :, None] & columns[:, None]
    return mask
