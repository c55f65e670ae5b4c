"""Noise on a background, and its correlation with the responses of layers.

Letters in shapes: B images (rounds x 8 blocks), U units, H and W sides of the image, h and w
samples of a field.
"""

import math
from collections.abc import Collection
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from deepsal.rf.mapping.cell_noise import BLOCK_COUNT, cell_noise, colour_mixing_matrix
from deepsal.rf.mapping.field_sampling import FieldSampling
from deepsal.rf.mapping.layer_responses import LayerResponses
from deepsal.rf.measures.reliability import split_half_reliability
from deepsal.statistics import finite_median

MIN_NOISE_LEFT = 0.4
"""Noise of which clipping leaves less than this part is refused."""

CPU_WINDOW_VALUES, GPU_WINDOW_VALUES = 4 * 2**20, 256 * 2**20
"""Values of noise around positions that are laid out for one matrix product."""


class NoiseResponses(NamedTuple):
    """Rounds of noise, and what layers responded."""

    noise: Float[Tensor, "B 3 H W"]
    """On the colour axes, of variance 1."""
    difference: dict[str, Float[Tensor, "B U _ _"]]
    """Response to x + n less that to x − n, per layer."""
    power: Float[Tensor, "3"]
    """Mean square of the noise on each axis."""
    gain: Float[Tensor, "3"]
    """Part of the noise of red, green and blue that clipping left."""


class NoisePresentation:
    """Shows antithetic pairs x + n and x − n, one pair per block and round.

    Args:
        responses: of the layers.
        size: (H, W).
        background: a grey level, or images (N, 3, H, W).
        amplitude: standard deviation of the noise of one colour.
        opponent: deviation on an opponent axis over that on the luminance axis.
        limits: values to which images are clipped; None: none.
        seed: of the noise.

    Attributes:
        rounds: that one pass has room for.
    """

    def __init__(
        self,
        responses: LayerResponses,
        size: tuple[int, int],
        background: float | Tensor,
        amplitude: float,
        opponent: float,
        limits: tuple[float, float] | None,
        seed: int,
    ) -> None:
        self.responses, self.size, self.limits, self.seed = responses, size, limits, seed
        self.background, self.amplitude = background, amplitude
        self.colour = colour_mixing_matrix(amplitude, opponent)
        self.rounds = max(1, responses.batch // (2 * BLOCK_COUNT))

    def __call__(self, cell: int, numbers: range, layers: Collection[str]) -> NoiseResponses:
        """Show rounds of pairs to some layers."""
        like = self.responses.like
        values = torch.cat([cell_noise(self.seed, cell, n, self.size) for n in numbers]).to(like)
        added = torch.einsum("bayx,ac->bcyx", values, self.colour.to(like))
        base = torch.cat([self._background(number) for number in numbers])
        up, down = base + added, base - added
        gain = like.new_ones(3)
        if self.limits is not None:
            up, down = up.clamp(*self.limits), down.clamp(*self.limits)
            left, power = (up - down) / 2 * added, added.square()
            gain = left.mean((0, 2, 3)) / power.mean((0, 2, 3))
        z = self.responses(torch.cat([up, down]), layers)
        halves = {name: output.chunk(2) for name, output in z.items()}
        difference = {name: plus - minus for name, (plus, minus) in halves.items()}
        return NoiseResponses(values, difference, values.square().mean((0, 2, 3)), gain)

    def _background(self, number: int) -> Tensor:
        like, images = self.responses.like, self.background
        if not isinstance(images, Tensor):
            return like.new_full((BLOCK_COUNT, 3, *self.size), images)
        apart = len(images) // BLOCK_COUNT * BLOCK_COUNT or len(images)  # no image is in two blocks
        indices = (torch.arange(BLOCK_COUNT) + number * BLOCK_COUNT) % apart
        return images[indices.to(images.device)].to(like)


class NonFiniteResponsesError(ValueError):
    """A layer gives values that are not finite, such as that of a training that diverged."""


class CorrelationSums:
    """Noise times response differences of one layer at one cell, summed per block.

    C = Σ (z(x + n) − z(x − n)) n / 2 over pairs and positions. Of a linear unit, E[C] is its
    kernel times the noise's covariance, the part that clipping left, and the number of positions
    that see the sample; `blocks` divides by these as measured.

    Args:
        name: of the layer.
        cell: side of a noise cell in pixels.
        at: positions and samples.
        units: U.
        show: where the noise comes from.

    Attributes:
        rounds: that were added; one round is one pair per block.
    """

    def __init__(
        self, name: str, cell: int, at: FieldSampling, units: int, show: NoisePresentation
    ) -> None:
        self.name, self.cell, self.at, self.show = name, cell, at, show
        self.shape = units, 3, at.rows.samples, at.columns.samples
        like = show.responses.like
        self.total = like.new_zeros(BLOCK_COUNT, units, math.prod(self.shape[1:]))
        self.power, self.gain = like.new_zeros(3), like.new_zeros(3)
        self.rounds = 0

    def add(self, shown: NoiseResponses) -> None:
        """Add rounds: the matrix product of responses with noise, over positions, per block."""
        rounds = len(shown.noise) // BLOCK_COUNT
        response = self.at.responses(shown.difference[self.name])
        blocks, room = (
            (BLOCK_COUNT, GPU_WINDOW_VALUES) if self.total.is_cuda else (1, CPU_WINDOW_VALUES)
        )
        for start in range(0, len(response), blocks):
            part, block = slice(start, start + blocks), start % BLOCK_COUNT
            windows = self.at.windows(shown.noise[part])
            rows = max(1, room // windows[:, 0].numel())
            pieces = zip(response[part].split(rows, 2), windows.split(rows, 1), strict=True)
            for z, noise_around in pieces:
                samples = noise_around.flatten(1, 2).flatten(2)
                self.total[block : block + blocks].baddbmm_(z.flatten(2), samples)
        self.power += rounds * shown.power
        self.gain += rounds * shown.gain
        self.rounds += rounds

    def gain_left(self) -> tuple[float, float, float]:
        """Return the part of the noise of red, green and blue that clipping left.

        Raises:
            ValueError: it is below 0.4.
        """
        red, green, blue = (self.gain / self.rounds).tolist()
        if min(red, green, blue) < MIN_NOISE_LEFT:
            raise ValueError(
                f"noise of amplitude {self.show.amplitude} saturates: clipping to "
                f"{self.show.limits} leaves {min(red, green, blue):.2f} of it; use a smaller "
                "amplitude, or the limits of the values that this network takes"
            )
        return red, green, blue

    def blocks(self) -> NDArray[np.float32]:
        """Return the field of each block, (8, U, 3, h, w), in responses per unit of a pixel.

        Samples that lie beyond the image at all positions are 0.

        Raises:
            ValueError: the noise saturates.
            NonFiniteResponsesError: the layer's values are not finite.
        """
        correlation = self.total.double().view(BLOCK_COUNT, *self.shape) / (2 * self.rounds)
        seen = self.at.seen().clamp(min=1).to(correlation) * self.cell**2
        correlation /= seen * (self.power.double() / self.rounds).view(3, 1, 1)
        unmix = torch.linalg.pinv(self.show.colour).to(correlation)
        field = torch.einsum("buayx,ca->bucyx", correlation, unmix)
        field /= torch.tensor(self.gain_left()).to(field).view(3, 1, 1)
        if not field.isfinite().all():
            raise NonFiniteResponsesError(f"{self.name} gives values that are not finite")
        return np.asarray(field.float().cpu().numpy())

    def median_reliability(self) -> float:
        """Return the median reliability of the units that respond; NaN if none does."""
        return finite_median(split_half_reliability(self.blocks()))
