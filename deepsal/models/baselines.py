"""What a saliency network must beat: chance and the centre."""

from typing import Any, cast

import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

Map = Float[Tensor, "B H W"]


class Uniform(nn.Module):
    """Chance: every pixel is equally likely."""

    def forward(self, image: Float[Tensor, "B 3 h w"], size: tuple[int, int] | None = None) -> Map:
        """Return a constant log density, `(B, H, W)`."""
        height, width = size or image.shape[-2:]
        return image.new_zeros(len(image), height, width) - torch.tensor(height * width).log()


class Centre(nn.Module):
    """The centre prior: where people look in *other* images, whatever this one shows.

    A Gaussian kernel density of all training fixations in coordinates relative to the image.

    Args:
        points: fixations as fractions (x, y) of their image, float (N, 2).
        bandwidth: the kernel's standard deviation as a fraction of each side.
    """

    GRID = 64

    def __init__(self, points: NDArray[Any], bandwidth: float = 0.05) -> None:
        super().__init__()
        at = (torch.arange(self.GRID, dtype=torch.float64) + 0.5) / self.GRID
        x, y = torch.as_tensor(points, dtype=torch.float64).T
        down, across = (
            torch.exp(-0.5 * ((at[:, None] - values) / bandwidth).square()) for values in (y, x)
        )
        self.register_buffer("log_density", (down @ across.T).clamp_min(1e-300).log().float())

    def forward(self, image: Float[Tensor, "B 3 h w"], size: tuple[int, int] | None = None) -> Map:
        """Return the prior as a log density, `(B, H, W)`, the same for every image."""
        grid = size or image.shape[-2:]
        log_density = cast(Tensor, self.log_density).to(image.device)[None, None]
        x = nn.functional.interpolate(log_density, grid, mode="bilinear")[:, 0]
        return x.flatten(1).log_softmax(1).view_as(x).expand(len(image), -1, -1)
