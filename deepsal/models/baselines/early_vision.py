"""Early visual channels of the classical saliency models: intensity, colour, orientation."""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import conv2d, interpolate, pad

FeatureMaps = Float[Tensor, "B C _ _"]

GABOR_ORIENTATIONS = (0, 45, 90, 135)
GABOR_PERIOD, GABOR_SIGMA, GABOR_RADIUS = 7.0, 7 / 3, 4
"""Wavelength, standard deviation and half-width of a Gabor in pixels of its level."""

CONSTANT_RANGE = 1e-4
"""Range of values below which a map counts as constant: scaling it up amplifies rounding errors."""


def scale_to_unit_range(maps: Float[Tensor, "*n"], axes: tuple[int, ...]) -> Float[Tensor, "*n"]:
    """Return maps scaled to [0, 1] over the axes of their pixels; constant maps give 0.

    >>> scale_to_unit_range(torch.tensor([[2.0, 3.0, 4.0], [5.0, 5.0, 5.0]]), (1,))
    tensor([[0.0000, 0.5000, 1.0000],
            [0.0000, 0.0000, 0.0000]])
    """
    low, high = maps.amin(axes, keepdim=True), maps.amax(axes, keepdim=True)
    return torch.where(high - low < CONSTANT_RANGE, 0, (maps - low) / (high - low))


def resize_longer_side(image: FeatureMaps, longest: int) -> FeatureMaps:
    """Resize images so that the longer side has `longest` pixels."""
    scale = longest / max(image.shape[-2:])
    size = [max(1, round(n * scale)) for n in image.shape[-2:]]
    return interpolate(image, size, mode="bilinear", antialias=True)


def opponent_channels(image: Float[Tensor, "B 3 h w"]) -> Float[Tensor, "B 3 h w"]:
    """Return intensity, red-green and blue-yellow (Itti, Koch & Niebur 1998, section 2.1).

    I = (r+g+b)/3. r, g, b are divided by I where I exceeds a tenth of its maximum over the image,
    and are 0 elsewhere. R = r−(g+b)/2, G = g−(r+b)/2, B = b−(r+g)/2, Y = (r+g)/2−|r−g|/2−b, each
    clipped at 0. Red-green is R−G, blue-yellow B−Y.
    """
    intensity = image.mean(1, keepdim=True)
    bright = intensity > intensity.amax((-2, -1), keepdim=True) / 10
    hue = torch.where(bright, image / intensity.clamp_min(1e-6), 0)
    r, g, b = hue.split(1, dim=1)
    red, green, blue = (r - (g + b) / 2, g - (r + b) / 2, b - (r + g) / 2)
    yellow = (r + g) / 2 - (r - g).abs() / 2 - b
    red, green, blue, yellow = (c.clamp_min(0) for c in (red, green, blue, yellow))
    return torch.cat([intensity, red - green, blue - yellow], dim=1)


def gaussian_pyramid(x: FeatureMaps, levels: int) -> list[FeatureMaps]:
    """Return a dyadic Gaussian pyramid: level 0 is `x`, each level half the one before.

    The filter is the binomial 1 4 6 4 1 along each axis; borders repeat their pixels.
    """
    taps = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], device=x.device) / 16
    kernel = (taps[:, None] * taps).expand(x.shape[1], 1, 5, 5)
    pyramid = [x]
    for _ in range(levels - 1):
        around = pad(pyramid[-1], (2, 2, 2, 2), mode="replicate")
        pyramid.append(conv2d(around, kernel, stride=2, groups=x.shape[1]))
    return pyramid


def gabor_magnitudes(intensity: Float[Tensor, "B 1 h w"]) -> Float[Tensor, "B 4 h w"]:
    """Return the contrast of contours at 0°, 45°, 90° and 135°.

    It is the sum of the magnitudes of an even and an odd Gabor with the parameters of Walther &
    Koch 2006 (Neural Networks 19(9)): period 7 pixels, standard deviation 7/3, 9x9, no response to
    constants.
    """
    around = pad(intensity, (GABOR_RADIUS,) * 4, mode="replicate")
    response = conv2d(around, _gabor_kernels().to(intensity)).abs()
    return response[:, ::2] + response[:, 1::2]


def _gabor_kernels() -> Float[Tensor, "8 1 k k"]:
    at = torch.arange(-GABOR_RADIUS, GABOR_RADIUS + 1.0)
    y, x = torch.meshgrid(at, at, indexing="ij")
    envelope = torch.exp(-(x.square() + y.square()) / (2 * GABOR_SIGMA**2))
    kernels = []
    for degrees in GABOR_ORIENTATIONS:
        theta = math.radians(degrees)
        across = (y * math.cos(theta) + x * math.sin(theta)) * 2 * math.pi / GABOR_PERIOD
        for wave in (across.cos(), across.sin()):
            kernel = (wave - (wave * envelope).sum() / envelope.sum()) * envelope
            kernels.append(kernel / kernel.abs().sum())
    return torch.stack(kernels)[:, None]
