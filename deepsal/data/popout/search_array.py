"""One search array: a jittered grid of items, one of them odd, drawn from (seed, index)."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from deepsal.data.popout.features import ITEM_COLOURS, POPOUT_FEATURES, ArrayItems

SUPERSAMPLING_FACTOR = 4


@dataclass(frozen=True)
class ArrayOptions:
    """What arrays have in common.

    Args:
        size: (height, width) in pixels.
        rows: the least and the most rows of items.
        jitter: how far items leave their grid, as a part of its pitch.
        background: the darkest and the lightest grey of the ground.

    Raises:
        ValueError: an option out of range.
    """

    size: tuple[int, int]
    rows: tuple[int, ...] = (4, 6)
    jitter: float = 0.18
    background: tuple[int, ...] = (105, 149)

    def __post_init__(self) -> None:
        if len(self.rows) != 2 or not 2 <= self.rows[0] <= self.rows[1]:
            raise ValueError(f"rows={list(self.rows)} must be the least (≥ 2) and the most")
        if not 0 <= self.jitter <= 0.25:
            raise ValueError(f"jitter={self.jitter} must lie between 0 and 0.25: items would touch")
        if len(self.background) != 2 or not 0 <= self.background[0] <= self.background[1] <= 255:
            raise ValueError(f"background={list(self.background)} must be two greys, 0 to 255")


class SearchArray:
    """One search array.

    Args:
        seed: of all arrays.
        index: of this one.
        feature: in what the target differs: a key of `FEATURES`.
        look: what arrays have in common.
        contrast: by how much, in (0, 1]; None for the random contrast that colour and orientation
            also have.

    Attributes:
        x, y: the items' centres in pixels from the image's upper left corner.
        target: which item is odd.
        items: how each item looks.
    """

    def __init__(
        self, seed: int, index: int, feature: str, look: ArrayOptions, contrast: float | None = None
    ) -> None:
        if feature not in POPOUT_FEATURES:
            raise ValueError(
                f"unknown features [{feature!r}]; the choices are {list(POPOUT_FEATURES)}"
            )
        if contrast is None and feature not in ("colour", "orientation"):
            raise ValueError(f"{feature} needs contrasts, such as [0.5, 1.0]")
        if contrast is not None and not 0 < contrast <= 1:
            raise ValueError(f"contrasts={contrast} must lie above 0 and at most at 1")
        self.look, self.feature, self.contrast = look, feature, contrast or 0.0
        self.random = np.random.default_rng((seed, index))
        height, width = look.size
        rows = int(self.random.integers(look.rows[0], look.rows[1] + 1))
        columns = round(rows * width / height)
        count = rows * columns
        self.pitch = width / columns
        y, x = np.mgrid[:rows, :columns].reshape(2, -1) + 0.5
        jitter = self.random.uniform(-look.jitter, look.jitter, (2, count))
        self.x, self.y = (x + jitter[0]) * self.pitch, (y + jitter[1]) * height / rows
        self.target = int(self.random.integers(count))
        self.background = int(self.random.integers(look.background[0], look.background[1] + 1))
        base, odd = self.random.permutation(len(ITEM_COLOURS))[:2]
        angle = self.random.uniform(0, np.pi)
        noise = self.random.normal(0, 0.05, count)
        self.items = ArrayItems(count, ITEM_COLOURS[base], angle + noise, self.background)
        if contrast is not None:
            POPOUT_FEATURES[feature](self.items, self.target, contrast, self.random)
        elif feature == "colour":
            self.items.colours[self.target] = ITEM_COLOURS[odd]
        else:
            self.items.angles[self.target] += self.random.uniform(np.pi / 4, 3 * np.pi / 4)

    def draw(self) -> UInt8[Tensor, "3 H W"]:
        """Return the image."""
        colours = [tuple(colour.tolist()) for colour in self.items.colours]
        canvas = self._drawn("RGB", (self.background,) * 3, dict(enumerate(colours)))
        small = canvas.resize(self.look.size[::-1], Image.Resampling.BOX)
        return torch.from_numpy(np.array(small)).permute(2, 0, 1).contiguous()

    def masks(self) -> tuple[Bool[Tensor, "H W"], Bool[Tensor, "H W"]]:
        """Return the pixels of the target, and those of the distractors."""
        others = [i for i in range(len(self.x)) if i != self.target]
        masks = []
        for members in ([self.target], others):
            canvas = self._drawn("L", 0, dict.fromkeys(members, 255))
            small = canvas.resize(self.look.size[::-1], Image.Resampling.BOX)
            masks.append(torch.from_numpy(np.array(small)) >= 128)
        return masks[0], masks[1]

    def fixations(self, count: int) -> NDArray[np.float64]:
        """Draw fixations; those off the image are left out, so that at most `count` remain."""
        height, width = self.look.size
        extent = np.array([width, height])
        target = np.array([self.x[self.target], self.y[self.target]])
        kind = self.random.choice(3, size=(count, 1), p=[0.65, 0.25, 0.10])
        near = self.random.normal(target, 0.025 * width, (count, 2))
        central = self.random.normal(extent / 2, 0.22 * extent, (count, 2))
        anywhere = self.random.uniform(0, extent, (count, 2))
        points: NDArray[np.float64] = np.choose(kind, [near, central, anywhere]) - 0.5
        inside = (points >= -0.5).all(1) & (points < extent - 0.5).all(1)
        return points[inside]

    def _drawn(self, mode: str, ground: object, fills: dict[int, object]) -> Image.Image:
        height, width = self.look.size
        scale = SUPERSAMPLING_FACTOR
        canvas = Image.new(mode, (width * scale, height * scale), ground)  # type: ignore[arg-type]
        pen = ImageDraw.Draw(canvas)
        for i, fill in fills.items():
            angle = self.items.angles[i]
            turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
            for outline in self.items.outlines[i]:
                corners = outline * (0.3 * self.pitch * scale * self.items.sizes[i])
                polygon = corners @ turn + (self.x[i] * scale, self.y[i] * scale)
                pen.polygon([(float(a), float(b)) for a, b in polygon], fill=fill)  # type: ignore[arg-type]
        return canvas
