"""Simple stimuli on grey: disks, gratings and rings of gratings, centred below a pixel.

All functions return float32 images (S, 3, H, W) in [0, 1]: 0.5 + contrast · pattern, one
per value of their parameters, which broadcast against each other. A negative contrast is the dark
stimulus. Positions are (row, column) in pixels, (0, 0) the middle of the first pixel. Angles are
degrees, counter-clockwise, and 0 is horizontal. Borders are ramps one pixel wide: the part of a
pixel that a straight edge covers. Images are made on the default device (`with torch.device(…)`).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from deepsal.rf.patches import MID_GREY

ParameterValues = Sequence[float] | NDArray[np.floating[Any]]
ImageSize = tuple[int, int]
ImagePosition = tuple[float, float]
StimulusImages = Float[Tensor, "S 3 H W"]


def disk_images(
    size: ImageSize,
    centre: ImagePosition,
    radius: ParameterValues,
    contrast: ParameterValues = (MID_GREY,),
) -> StimulusImages:
    """Return filled circles of several radii about one centre.

    Args:
        size: (height, width).
        centre: of all circles.
        radius: radii in pixels.
        contrast: −0.5 … 0.5 from grey.

    Raises:
        ValueError: a radius is not positive, or a contrast leads out of [0, 1].

    >>> disk_images((3, 3), (1.0, 1.0), [1.0], [-0.5])[0, 0, 1].tolist()
    [0.25, 0.0, 0.25]
    """
    disk = _disk_mask(torch.hypot(*_grid(size, centre)), radius)
    return _paint_pattern(disk, contrast)


def grating_images(
    size: ImageSize,
    centre: ImagePosition,
    frequency: ParameterValues,
    orientation: ParameterValues,
    phase: ParameterValues,
    contrast: ParameterValues = (MID_GREY,),
    radius: ParameterValues | None = None,
    inner: ParameterValues | None = None,
) -> StimulusImages:
    """Return sinusoids cos(2π·frequency·d + phase), d the distance across the stripes.

    Args:
        size: (height, width).
        centre: origin of the phase, and the middle of the aperture.
        frequency: cycles per pixel, up to 0.5.
        orientation: degrees, of the stripes; d grows downwards at 0 and rightwards at 90.
        phase: degrees; at 0 a bright stripe lies on the centre.
        contrast: −0.5 … 0.5, the amplitude.
        radius: of a hard circular aperture, pixels; None fills the image.
        inner: radius of a grey disk in the middle, pixels, which leaves a ring; None for no disk.

    Raises:
        ValueError: a frequency is outside (0, 0.5]; and the errors of `disk_images`.

    >>> image = grating_images((1, 4), (0.0, 0.0), [0.25], [90.0], [0.0])
    >>> image[0, 0, 0].round(decimals=3).tolist()
    [1.0, 0.5, 0.0, 0.5]
    """
    cycles = _as_column(frequency)
    if not bool(((cycles > 0) & (cycles <= 0.5)).all()):
        raise ValueError(
            f"frequency is {list(frequency)}; it must lie in (0, 0.5] cycles per pixel"
        )
    rows, columns = _grid(size, centre)
    turn = _as_column(orientation).deg2rad()
    across = rows * turn.cos() + columns * turn.sin()
    wave = torch.cos(2 * torch.pi * cycles * across + _as_column(phase).deg2rad())
    if radius is not None:
        wave = wave * _disk_mask(torch.hypot(rows, columns), radius)
    if inner is not None:
        wave = wave * (1 - _disk_mask(torch.hypot(rows, columns), inner))
    return _paint_pattern(wave, contrast)


def display_image(image: Float[Tensor, "3 H W"], side: int) -> Float[Tensor, "1 3 side side"]:
    """Return the middle square of an image, (1, 3, side, side), by bilinear interpolation.

    >>> display_image(torch.rand(3, 24, 32), 48).shape
    torch.Size([1, 3, 48, 48])
    """
    square = min(image.shape[-2:])
    top, left = ((length - square) // 2 for length in image.shape[-2:])
    middle = image[None, :, top : top + square, left : left + square]
    return functional.interpolate(middle, (side, side), mode="bilinear", align_corners=False)


def _as_column(values: ParameterValues) -> Tensor:
    return torch.as_tensor(np.asarray(values), dtype=torch.float32).reshape(-1, 1, 1)


def _grid(size: ImageSize, centre: ImagePosition) -> tuple[Tensor, Tensor]:
    rows, columns = (torch.arange(n) - at for n, at in zip(size, centre, strict=True))
    return rows.float()[:, None], columns.float()[None]


def _disk_mask(distance: Tensor, radius: ParameterValues) -> Tensor:
    if float(np.min(radius)) <= 0:
        raise ValueError(f"a radius is {np.min(radius)}; it must be above 0 pixels")
    return (_as_column(radius) - distance + 0.5).clamp(0, 1)


def _paint_pattern(pattern: Tensor, contrast: ParameterValues) -> Tensor:
    if float(np.abs(contrast).max()) > MID_GREY:
        raise ValueError(f"contrast {list(contrast)} leaves [0, 1]; give −0.5 … 0.5")
    return (MID_GREY + _as_column(contrast) * pattern)[:, None].repeat(1, 3, 1, 1)
