"""Features that separate the target of a search array from its distractors."""

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

ITEM_COLOURS = np.array(
    [[214, 73, 51], [46, 139, 87], [58, 107, 201], [222, 165, 33], [146, 84, 176]]
)
ItemOutline = NDArray[np.float64]


class ArrayItems:
    """Colours, angles, sizes and outlines of an array's items.

    Args:
        count: number of items.
        colour: RGB of all items, 0 to 255.
        angles: (count,) in radians.
        ground: grey level of the background.

    Attributes:
        outlines: polygons of each item, (corners, 2), in units of half its length.
    """

    def __init__(
        self, count: int, colour: NDArray[np.int64], angles: NDArray[np.float64], ground: int
    ) -> None:
        self.colours = np.repeat(colour[None], count, axis=0)
        self.angles = angles
        self.sizes = np.ones(count)
        self.ground = ground
        self.outlines: list[list[ItemOutline]] = [[bar_outline()]] * count

    def set_all_outlines(self, *outlines: ItemOutline, upright: bool = False) -> None:
        """Set the outlines of every item, and optionally turn all items upright."""
        self.outlines = [list(outlines)] * len(self.sizes)
        if upright:
            self.angles = self.angles * 0


def bar_outline(length: float = 1.0) -> ItemOutline:
    """Return the corners of a bar, three times as long as it is broad at length 1."""
    return np.array([[-1, -0.3], [1, -0.3], [1, 0.3], [-1, 0.3]]) * (length, 1.0)


def ring_outline(gap: float = 0.0, inner: float = 0.6, outer: float = 0.9) -> ItemOutline:
    """Return the outline of a ring with a gap to the right, an angle in radians."""
    at = np.linspace(gap / 2, 2 * np.pi - gap / 2, 49)
    arc = np.stack([np.cos(at), np.sin(at)], axis=1)
    return np.concatenate([outer * arc, inner * arc[::-1]])


def disc_to_triangle_outline(part: float) -> ItemOutline:
    """Return a disc at 0, a triangle of the same area at 1, and a mixture of both in between."""
    at = np.linspace(0, 2 * np.pi, 96, endpoint=False) + np.pi / 2
    sector = (at - np.pi / 2 + np.pi / 3) % (2 * np.pi / 3) - np.pi / 3
    apothem = np.sqrt(np.pi / (3 * np.sqrt(3)))
    triangle = apothem / np.cos(np.pi / 3 - np.abs(sector))
    radius = 0.75 * ((1 - part) + part * triangle)
    return np.stack([radius * np.cos(at), -radius * np.sin(at)], axis=1)


def corner_outlines(opening: float) -> list[ItemOutline]:
    """Return the outlines of two bars that meet at an angle, in radians."""
    arms = []
    for side in (-1, 1):
        a = side * opening / 2
        arm = np.array([[-0.15, -0.15], [1, -0.15], [1, 0.15], [-0.15, 0.15]])
        turn = np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]])
        arms.append(arm @ turn - (0.4, 0))
    return arms


def lab_to_srgb(lightness: float, chroma: float, hue: float) -> NDArray[np.int64]:
    """Return the sRGB bytes of a CIELAB colour (D65; CIE 15:2004, IEC 61966-2-1).

    >>> lab_to_srgb(100.0, 0.0, 0.0).tolist(), lab_to_srgb(50.0, 0.0, 0.0).tolist()
    ([255, 255, 255], [119, 119, 119])
    """
    y = (lightness + 16) / 116
    f = np.array([y + chroma * np.cos(hue) / 500, y, y - chroma * np.sin(hue) / 200])
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * (0.95047, 1, 1.08883)
    of_xyz = [
        [3.24063, -1.53721, -0.49863],
        [-0.96893, 1.87576, 0.04152],
        [0.05571, -0.20402, 1.057],
    ]
    linear = np.clip(of_xyz @ xyz, 0, 1)
    coded = np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)
    return (255 * coded).round().astype(np.int64)


def _colour(items: ArrayItems, target: int, c: float, random: Generator) -> None:
    hue = random.uniform(0, 2 * np.pi)
    items.colours[:] = lab_to_srgb(62.0, 36.0, hue)
    items.colours[target] = lab_to_srgb(62.0, 36.0, hue + c * np.pi)


def _saturation(items: ArrayItems, target: int, c: float, random: Generator) -> None:
    hue = random.uniform(0, 2 * np.pi)
    items.colours[:] = lab_to_srgb(62.0, 4.0, hue)
    items.colours[target] = lab_to_srgb(62.0, 4.0 + 40.0 * c, hue)


def _brighter(items: ArrayItems, target: int, c: float, random: Generator) -> None:
    items.colours[:] = items.ground - 60
    items.colours[target] = items.ground - 60 + round(c * (315 - items.ground))


def _darker(items: ArrayItems, target: int, c: float, random: Generator) -> None:
    items.colours[:] = items.ground + 60
    items.colours[target] = items.ground + 60 - round(c * (items.ground + 60))


def _orientation(items: ArrayItems, target: int, c: float, random: Generator) -> None:
    items.angles[target] += random.choice([-1, 1]) * c * np.pi / 2


def _among_many(items: ArrayItems, target: int, c: float, random: Generator) -> None:
    middle = items.angles[target]
    items.angles += random.uniform(-np.pi / 9, np.pi / 9, len(items.angles))
    items.angles[target] = middle + random.choice([-1, 1]) * c * np.pi / 2


def _larger(items: ArrayItems, target: int, c: float, random: Generator) -> None:
    items.set_all_outlines(disc_to_triangle_outline(0.0), upright=True)
    items.sizes[:] = 0.7
    items.sizes[target] *= 1 + c


def _smaller(items: ArrayItems, target: int, c: float, random: Generator) -> None:
    items.set_all_outlines(disc_to_triangle_outline(0.0), upright=True)
    items.sizes[:] = 1.1
    items.sizes[target] /= 1 + 1.5 * c


def _longer(items: ArrayItems, target: int, c: float, random: Generator) -> None:
    items.set_all_outlines(bar_outline(0.6))
    items.outlines[target] = [bar_outline(0.6 + 0.6 * c)]


def _shape(items: ArrayItems, target: int, c: float, random: Generator) -> None:
    items.set_all_outlines(disc_to_triangle_outline(0.0), upright=True)
    items.outlines[target] = [disc_to_triangle_outline(c)]


def _corner(items: ArrayItems, target: int, c: float, random: Generator) -> None:
    items.set_all_outlines(*corner_outlines(np.pi))
    items.outlines[target] = corner_outlines(np.pi * (1 - 0.8 * c))


def _gap(items: ArrayItems, target: int, c: float, random: Generator) -> None:
    items.set_all_outlines(ring_outline())
    items.outlines[target] = [ring_outline(c * np.pi)]
    items.angles = random.uniform(0, 2 * np.pi, len(items.angles))


def _closed(items: ArrayItems, target: int, c: float, random: Generator) -> None:
    items.set_all_outlines(ring_outline(c * np.pi))
    items.outlines[target] = [ring_outline()]
    items.angles = random.uniform(0, 2 * np.pi, len(items.angles))


def _tail(items: ArrayItems, target: int, c: float, random: Generator) -> None:
    items.set_all_outlines(ring_outline(), upright=True)
    inner, outer = 0.75 - 0.45 * c, 0.75 + 0.45 * c
    tail = np.array([[inner, -0.13], [outer, -0.13], [outer, 0.13], [inner, 0.13]])
    items.outlines[target] = [ring_outline(), tail]
    items.angles[target] = np.pi / 4


def _conjunction(items: ArrayItems, target: int, c: float, random: Generator) -> None:
    hue = random.uniform(0, 2 * np.pi)
    away = random.choice([-1, 1]) * c * np.pi / 2
    tinted = random.permutation(len(items.sizes)) % 2 == 0
    items.colours[:] = np.where(
        tinted[:, None], lab_to_srgb(62.0, 36.0, hue + c * np.pi), lab_to_srgb(62.0, 36.0, hue)
    )  # half the distractors have the target's colour, the others its orientation
    items.angles[~tinted] += away
    items.angles[target] += away if tinted[target] else 0
    items.colours[target] = lab_to_srgb(62.0, 36.0, hue + c * np.pi)


POPOUT_FEATURES: dict[str, Callable[[ArrayItems, int, float, Generator], None]] = {
    "colour": _colour,
    "saturation": _saturation,
    "brighter": _brighter,
    "darker": _darker,
    "orientation": _orientation,
    "among_many": _among_many,
    "larger": _larger,
    "smaller": _smaller,
    "longer": _longer,
    "shape": _shape,
    "corner": _corner,
    "gap": _gap,
    "closed": _closed,
    "tail": _tail,
    "conjunction": _conjunction,
}
"""Functions of (items, target, contrast in (0, 1], generator) that change the items."""
