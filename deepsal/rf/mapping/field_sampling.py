"""Positions of units that are correlated with noise, and the samples of their fields.

Letters in shapes: B images, U units (channels), V and W positions, h and w samples of a field.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from deepsal.rf.geometry import FieldGeometry
from deepsal.rf.mapping.cell_noise import REACH_IN_STRIDES

POSITION_CHOICES = ("inside", "all")


@dataclass(frozen=True)
class AxisSampling:
    """Positions and samples along one axis of the image.

    first, count: of the positions in the layer's map · origin: pixel of sample 0 of position v,
    less v·stride · samples: of a field · step: pixels between samples · stride: pixels between
    positions · side: of the image in pixels · whole: the samples cover the theoretical field and
    no position's field is cut by the image.
    """

    first: int
    count: int
    origin: int
    samples: int
    step: int
    stride: int
    side: int
    whole: bool

    @cached_property
    def pixels(self) -> Tensor:
        """Pixels that are sampled, from the first position's first to the last one's last."""
        start = self.first * self.stride + self.origin
        length = (self.count - 1) * self.stride + (self.samples - 1) * self.step + 1
        return torch.arange(start, start + length, self.step)

    @cached_property
    def inside(self) -> Tensor:
        """Whether each of `pixels` lies in the image."""
        return (self.pixels >= 0) & (self.pixels < self.side)

    @cached_property
    def seen(self) -> Tensor:
        """Number of positions whose sample lies in the image, (samples,)."""
        windows = self.inside.unfold(0, self.samples, self.stride // self.step)
        return windows.sum(0)


@dataclass(frozen=True)
class FieldSampling:
    """Positions and samples of one layer, for one cell."""

    rows: AxisSampling
    columns: AxisSampling

    @property
    def positions(self) -> int:
        """Number of positions."""
        return self.rows.count * self.columns.count

    @property
    def whole(self) -> bool:
        """Whether fields are whole."""
        return self.rows.whole and self.columns.whole

    def seen(self) -> Int[Tensor, "h w"]:
        """Return how many positions each sample of a field is an average over."""
        return self.rows.seen[:, None] * self.columns.seen

    def responses(self, z: Float[Tensor, "B U _ _"]) -> Float[Tensor, "B U V W"]:
        """Return a layer's output at the positions."""
        rows, columns = (slice(a.first, a.first + a.count) for a in (self.rows, self.columns))
        return z[:, :, rows, columns]

    def windows(self, noise: Float[Tensor, "B 3 _ _"]) -> Float[Tensor, "B V W 3 h w"]:
        """Return the noise of an image at the samples of each position, 0 beyond the image.

        It is a view: neighbouring positions share memory.
        """
        for axis, dim in ((self.rows, 2), (self.columns, 3)):
            inside = axis.inside.to(noise.device)
            shape = (-1, 1) if dim == 2 else (-1,)
            at = axis.pixels.clamp(0, axis.side - 1).to(noise.device)
            noise = noise.index_select(dim, at)
            if not axis.inside.all():
                noise = noise * inside.view(shape)
        for axis, dim in ((self.rows, 2), (self.columns, 3)):
            noise = noise.unfold(dim, axis.samples, axis.stride // axis.step)
        return noise.permute(0, 2, 3, 1, 4, 5)


def field_sampling(
    geometry: FieldGeometry,
    size: tuple[int, int],
    units: tuple[int, int],
    cell: int,
    window: int | None,
    positions: str,
) -> FieldSampling:
    """Choose positions and samples.

    Fields are sampled every half cell, or finer where strides demand it: noise in cells tells
    no more. Positions are those whose theoretical field lies inside the image. Where there is
    none, they are the middle half of the map on that axis, and each sample is an average over the
    positions that see it.

    Args:
        geometry: of the layer.
        size: (height, width) of the image.
        units: (height, width) of the layer's map.
        cell: side of a noise cell in pixels.
        window: pixels of a field to keep; None: all, or where the image cuts it, 8 strides but at
            most two thirds of the image's shorter side.
        positions: `inside`, or `all` for the whole map, units with cut fields included.
    """
    common = math.gcd(*geometry.stride)
    step = max(s for s in range(1, common + 1) if common % s == 0 and s <= max(1, cell // 2))
    fields = geometry.size or (None, None)
    part = 2 * min(size) // 3
    rows, columns = (
        _axis(*of, step, window, part, positions == "all")
        for of in zip(fields, geometry.stride, geometry.offset, size, units, strict=True)
    )
    return FieldSampling(rows, columns)


def _axis(
    field: int | None,
    stride: int,
    offset: int,
    side: int,
    units: int,
    step: int,
    window: int | None,
    part: int,
    every: bool,
) -> AxisSampling:
    first, last = 0, units - 1
    fits = False
    if field is not None and not every:
        lowest, highest = -(-offset // stride), (side - field + offset) // stride
        fits = max(lowest, 0) <= min(highest, units - 1)
        first, last = (max(lowest, 0), min(highest, units - 1)) if fits else (first, last)
    if not fits and not every:
        first, last = units // 4, max(units // 4, units - 1 - units // 4)
    known = field or side
    cut = field is None or field > side
    length = min(known, side, window or (min(REACH_IN_STRIDES * stride, part) if cut else known))
    samples = (length - 1) // step + 1
    extent = (samples - 1) * step + 1
    origin = (field - extent) // 2 - offset if field else (stride - extent) // 2
    whole = fits and length == field
    return AxisSampling(first, last - first + 1, origin, samples, step, stride, side, whole)
