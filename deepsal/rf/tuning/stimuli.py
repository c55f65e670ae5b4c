"""Simple stimuli on grey, centred to a fraction of a pixel, whose answers need no gradient.

All functions return float32 images (S, 3, H, W) in [0, 1]: 0.5 + contrast · pattern · colour, one
per value of their parameters, which broadcast against each other. A negative contrast is the dark
stimulus. Positions are (row, column) in pixels, the middle of the first pixel being (0, 0); angles
are degrees, counter-clockwise, and 0 is horizontal. Borders are one pixel wide ramps, which is what
a straight edge covers of a pixel.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from deepsal.rf.patches import GREY

Values = Sequence[float] | NDArray[np.floating[Any]]
Size = tuple[int, int]
Place = tuple[float, float]
Images = Float[Tensor, "S 3 H W"]

LUMINANCE = (1.0, 1.0, 1.0)
AXES = {
    "luminance": LUMINANCE,
    "red-green": (1.0, -1.0, 0.0),
    "blue-yellow": (-0.5, -0.5, 1.0),
}
"""Orthogonal directions in RGB; the two colours keep the mean of red, green and blue."""


def spots(
    size: Size,
    positions: Sequence[Place] | NDArray[np.floating[Any]],
    radius: Values,
    contrast: Values = (GREY,),
    colour: tuple[float, float, float] = LUMINANCE,
) -> Images:
    """Return one filled circle per position.

    Args:
        size: (height, width).
        positions: (S, 2), centres.
        radius: pixels.
        contrast: −0.5 … 0.5 from grey.
        colour: direction in RGB, its largest part 1; see `AXES`.

    Raises:
        ValueError: a radius that is not positive, or a contrast that leaves [0, 1].

    >>> spots((3, 3), [(1.0, 1.0)], [1.0], [-0.5])[0, 0, 1].tolist()
    [0.25, 0.0, 0.25]
    """
    at = torch.as_tensor(np.asarray(positions), dtype=torch.float32).reshape(-1, 2, 1, 1)
    rows, columns = _grid(size, (0.0, 0.0))
    distance = torch.hypot(rows - at[:, 0], columns - at[:, 1])
    return _painted(_inside(distance, radius), contrast, colour)


def disks(
    size: Size,
    centre: Place,
    radius: Values,
    contrast: Values = (GREY,),
    colour: tuple[float, float, float] = LUMINANCE,
) -> Images:
    """Return filled circles of several radii around one place; see `spots`."""
    return spots(size, [centre], radius, contrast, colour)


def annuli(
    size: Size,
    centre: Place,
    inner: Values,
    outer: float,
    contrast: Values = (GREY,),
    colour: tuple[float, float, float] = LUMINANCE,
) -> Images:
    """Return rings that leave their middle grey: what only a surround sees; see `spots`.

    Raises:
        ValueError: an inner radius of `outer` or more; and what `spots` raises.

    >>> annuli((1, 7), (0.0, 3.0), [1.5], 2.5)[0, 0, 0].tolist()
    [0.5, 1.0, 0.5, 0.5, 0.5, 1.0, 0.5]
    """
    if float(np.max(inner)) >= outer:
        raise ValueError(f"inner radii go up to {np.max(inner)}; they must be below outer, {outer}")
    distance = torch.hypot(*_grid(size, centre))
    ring = _inside(distance, [outer]) - _inside(distance, inner)
    return _painted(ring, contrast, colour)


def gratings(
    size: Size,
    centre: Place,
    frequency: Values,
    orientation: Values,
    phase: Values,
    contrast: Values = (GREY,),
    aperture: float | None = None,
    soft: bool = False,
) -> Images:
    """Return sinusoids cos(2π·frequency·d + phase), d the distance across the stripes.

    Args:
        size: (height, width).
        centre: where the phase is counted from, and the aperture's middle.
        frequency: cycles per pixel, up to 0.5.
        orientation: degrees, of the stripes; d grows downwards at 0 and rightwards at 90.
        phase: degrees; 0 puts a bright stripe on the centre.
        contrast: −0.5 … 0.5, the amplitude.
        aperture: radius in pixels; None fills the image.
        soft: the aperture is a Gaussian of this standard deviation rather than a disk.

    Raises:
        ValueError: a frequency outside (0, 0.5], or a contrast or radius as in `spots`.

    >>> gratings((1, 4), (0.0, 0.0), [0.25], [90.0], [0.0])[0, 0, 0].round(decimals=3).tolist()
    [1.0, 0.5, 0.0, 0.5]
    """
    cycles = _stack(frequency)
    if not bool(((cycles > 0) & (cycles <= 0.5)).all()):
        raise ValueError(f"frequency is {list(frequency)}; pixels carry (0, 0.5] cycles each")
    grid = _grid(size, centre)
    wave = torch.cos(2 * torch.pi * cycles * _across(grid, orientation) + _stack(phase).deg2rad())
    if aperture is not None:
        distance = torch.hypot(*grid)
        sharp = _inside(distance, [aperture])
        wave = wave * (torch.exp(-(distance**2) / (2 * aperture**2)) if soft else sharp)
    return _painted(wave, contrast, LUMINANCE)


def edges(size: Size, centre: Place, direction: Values, contrast: Values = (GREY,)) -> Images:
    """Return straight steps from dark to bright through the centre.

    Args:
        size: (height, width).
        centre: a point of the edge.
        direction: degrees, 0 … 360, of someone who walks along it, bright on their right.
        contrast: −0.5 … 0.5, of either side.

    >>> edges((3, 1), (1.0, 0.0), [0.0])[0, 0, :, 0].tolist()
    [0.0, 0.5, 1.0]
    """
    step = 2 * _across(_grid(size, centre), direction)
    return _painted(step.clamp(-1, 1), contrast, LUMINANCE)


def _stack(values: Values) -> Tensor:
    return torch.as_tensor(np.asarray(values), dtype=torch.float32).reshape(-1, 1, 1)


def _grid(size: Size, centre: Place) -> tuple[Tensor, Tensor]:
    rows, columns = (torch.arange(n) - at for n, at in zip(size, centre, strict=True))
    return rows.float()[:, None], columns.float()[None]


def _across(grid: tuple[Tensor, Tensor], angle: Values) -> Tensor:
    turn = _stack(angle).deg2rad()
    return grid[0] * turn.cos() + grid[1] * turn.sin()


def _inside(distance: Tensor, radius: Values) -> Tensor:
    if float(np.min(radius)) <= 0:
        raise ValueError(f"a radius is {np.min(radius)}; it must be above 0 pixels")
    return (_stack(radius) - distance + 0.5).clamp(0, 1)


def _painted(pattern: Tensor, contrast: Values, colour: tuple[float, float, float]) -> Tensor:
    if max(map(abs, colour)) * float(np.abs(contrast).max()) > GREY:
        raise ValueError(
            f"contrast {list(contrast)} in colour {colour} leaves [0, 1]; it may be −0.5 … 0.5"
        )
    change = _stack(contrast) * pattern
    return GREY + change[:, None] * torch.tensor(colour).view(3, 1, 1)
