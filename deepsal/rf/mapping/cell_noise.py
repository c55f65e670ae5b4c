"""Noise in square cells, matched to the scale of a layer's fields.

Letters in shapes: H, W the image's sides.
"""

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from deepsal.rf.geometry import FieldGeometry

BLOCK_COUNT = 8
"""Independent samples of one measurement: reliability and standard errors come from them."""
COLOUR_DIRECTIONS = np.array([[1, 1, 1], [1, -1, 0], [1, 1, -2]]) / np.sqrt([[3.0], [2.0], [6.0]])
"""Rows: luminance, red–green and yellow–blue, orthonormal directions in RGB."""
REACH_IN_STRIDES = 8
"""Strides within which a deep layer's field has its weight.

A 129 px window holds 99.5 % of the energy of EfficientNet-Lite0's conv4 fields (stride 16), whose
theoretical field is 339 px wide.
"""
CELLS_PER_EXTENT, FEWEST_CELLS_PER_EXTENT = 12, 4


def cell_noise(
    seed: int, cell: int, number: int, size: tuple[int, int]
) -> Float[Tensor, "8 3 H W"]:
    """Return one round of noise images, one per block, on the CPU.

    Each cell has one Gaussian value of variance 1 on each of the three colour axes. The grid is
    shifted by a random number of pixels on each axis in each image. The noise depends on the
    arguments alone, not on the machine, the network or torch's global generator.

    Args:
        seed: equal seeds give equal noise.
        cell: side of a cell in pixels.
        number: of the round; rounds are independent.
        size: (H, W).

    >>> cell_noise(0, 4, 0, (6, 9)).shape
    torch.Size([8, 3, 6, 9])
    """
    state = int(np.random.SeedSequence((seed, cell, number)).generate_state(1, np.uint64)[0])
    generator = torch.Generator().manual_seed(state >> 1)
    cells = [(side + cell - 2) // cell + 1 for side in size]  # the shifted grid's last cell too
    values = torch.randn(BLOCK_COUNT, 3, *cells, generator=generator)
    if cell == 1:
        return values[..., : size[0], : size[1]]
    shifts = torch.randint(cell, (BLOCK_COUNT, 2), generator=generator)
    rows, columns = (
        (torch.arange(side) + shifts[:, axis, None]) // cell for axis, side in enumerate(size)
    )
    image = torch.arange(BLOCK_COUNT)[:, None, None]
    return values.permute(0, 2, 3, 1)[image, rows[:, :, None], columns[:, None]].permute(0, 3, 1, 2)


def colour_mixing_matrix(amplitude: float, opponent: float) -> Float[Tensor, "3 3"]:
    """Return the matrix (axes, RGB) that turns noise of variance 1 on the axes into RGB noise.

    The standard deviation of each of red, green and blue is `amplitude`.

    Args:
        amplitude: in units of the image.
        opponent: deviation on an opponent axis over that on the luminance axis.

    >>> colour_mixing_matrix(0.1, 0.5).square().sum(0).sqrt().numpy().round(3).tolist()
    [0.1, 0.1, 0.1]
    """
    luminance = amplitude * math.sqrt(3 / (1 + 2 * opponent**2))
    deviations = luminance * np.array([[1.0], [opponent], [opponent]])
    return torch.from_numpy(deviations * COLOUR_DIRECTIONS)


def cell_sizes(geometry: FieldGeometry, size: tuple[int, int]) -> list[int]:
    """Return the cells for a layer, from fine to coarse: powers of 2 between about e/12 and e/4.

    e is the extent of its fields: the theoretical one, but at most 8 strides and at most the
    image. Layers that share a cell share passes.

    >>> cell_sizes(FieldGeometry((67, 67), (8, 8), (26, 26)), (192, 256))
    [4, 8, 16]
    """
    sides = geometry.size or size
    extents = (
        min(side, whole, REACH_IN_STRIDES * stride)
        for side, whole, stride in zip(sides, size, geometry.stride, strict=True)
    )
    extent = min(extents)
    finest = max(0, round(math.log2(extent / CELLS_PER_EXTENT)))
    coarsest = max(finest, math.floor(math.log2(max(1.0, extent / FEWEST_CELLS_PER_EXTENT))))
    return [2**power for power in range(finest, coarsest + 1)]
