"""Where patches come from: blank, noise, the middle of given images, the strongest responses."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from deepsal.rf.geometry import Geometry
from deepsal.rf.hooks import undisturbed
from deepsal.rf.patches import TopK

GREY = 0.5


def blank(size: tuple[int, int], value: float = GREY) -> Float[Tensor, "1 3 h w"]:
    """Return one image of a single grey."""
    return torch.full((1, 3, *size), value)


def noise(
    count: int, size: tuple[int, int], mean: float = GREY, deviation: float = 0.2, seed: int = 0
) -> Float[Tensor, "N 3 h w"]:
    """Return images of Gaussian white noise from a generator of their own; values may leave [0, 1].

    Args:
        count: how many.
        size: (height, width).
        mean: of every pixel and colour.
        deviation: its standard deviation.
        seed: equal seeds give equal images.
    """
    generator = torch.Generator().manual_seed(seed)
    return mean + deviation * torch.randn(count, 3, *size, generator=generator)


def middle(units: int, images: int, geometry: Geometry, size: tuple[int, int]) -> NDArray[np.int64]:
    """Return the same patches for every unit, (units, images, 3): the middle of each image.

    >>> middle(1, 2, Geometry((11, 11), (4, 4), (2, 2)), (64, 96)).tolist()
    [[[0, 8, 12], [1, 8, 12]]]
    """
    at = [side // stride // 2 for side, stride in zip(size, geometry.stride, strict=True)]
    return np.array([[[i, *at] for i in range(images)]] * units, dtype=np.int64)


def strongest(
    network: nn.Module,
    name: str,
    images: Float[Tensor, "N 3 H W"],
    units: Sequence[int],
    k: int = 9,
    batch_size: int = 16,
) -> NDArray[np.int64]:
    """Return the k patches to which each unit responds most, at most one per image, (U, k, 3).

    Args:
        network: any network.
        name: the layer's dotted name.
        images: where to look.
        units: channels.
        k: patches per unit; −1 fills up where there are fewer.
        batch_size: images per forward pass.
    """
    topk = TopK({name: units}, k)
    like = next(network.parameters(), images)
    with undisturbed(network), torch.no_grad(), topk.hooked(network):
        for start in range(0, len(images), batch_size):
            batch = images[start : start + batch_size]
            topk.next(range(start, start + len(batch)))
            network(batch.to(like))
    return topk.patches(name)
