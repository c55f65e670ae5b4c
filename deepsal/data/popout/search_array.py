"""Search array: a jittered grid of items with one odd item, a function of (seed, index)."""

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
    """Options that several arrays share.

    Args:
        size: (height, width) in pixels.
        rows: the least and the most rows of items.
        jitter: largest shift of an item, as a fraction of the grid's pitch.
        background: the darkest and the lightest grey of the background, 0 to 255.

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
    """A search array: a target among distractors.

    Args:
        seed: of all arrays.
        index: of this array.
        feature: the feature that separates the target: a key of `POPOUT_FEATURES`.
        options: shared by all arrays.
        contrast: of the target, in (0, 1]. None for a random contrast, which only colour and
            orientation have.

    Attributes:
        x, y: the items' centres in pixels from the image's upper left corner.
        target: index of the odd item.
        items: appearance of the items.

    Raises:
        ValueError: an unknown feature, or a contrast that is missing or out of range.
    """

    def __init__(
        self,
        seed: int,
        index: int,
        feature: str,
        options: ArrayOptions,
        contrast: float | None = None,
    ) -> None:
        if feature not in POPOUT_FEATURES:
            raise ValueError(
                f"unknown features [{feature!r}]; the choices are {list(POPOUT_FEATURES)}"
            )
        if contrast is None and feature not in ("colour", "orientation"):
            raise ValueError(f"{feature} needs contrasts, such as [0.5, 1.0]")
        if contrast is not None and not 0 < contrast <= 1:
            raise ValueError(f"contrasts={contrast} must lie above 0 and at most at 1")
        self.options, self.feature, self.contrast = options, feature, contrast or 0.0
        self.generator = np.random.default_rng((seed, index))
        height, width = options.size
        rows = int(self.generator.integers(options.rows[0], options.rows[1] + 1))
        columns = round(rows * width / height)
        count = rows * columns
        self.pitch = width / columns
        y, x = np.mgrid[:rows, :columns].reshape(2, -1) + 0.5
        jitter = self.generator.uniform(-options.jitter, options.jitter, (2, count))
        self.x, self.y = (x + jitter[0]) * self.pitch, (y + jitter[1]) * height / rows
        self.target = int(self.generator.integers(count))
        self.background = int(
            self.generator.integers(options.background[0], options.background[1] + 1)
        )
        base, odd = self.generator.permutation(len(ITEM_COLOURS))[:2]
        angle = self.generator.uniform(0, np.pi)
        noise = self.generator.normal(0, 0.05, count)
        self.items = ArrayItems(count, ITEM_COLOURS[base], angle + noise, self.background)
        if contrast is not None:
            POPOUT_FEATURES[feature](self.items, self.target, contrast, self.generator)
        elif feature == "colour":
            self.items.colours[self.target] = ITEM_COLOURS[odd]
        else:
            self.items.angles[self.target] += self.generator.uniform(np.pi / 4, 3 * np.pi / 4)

    def render_image(self) -> UInt8[Tensor, "3 H W"]:
        """Draw the image, uint8 RGB."""
        colours = [tuple(colour.tolist()) for colour in self.items.colours]
        canvas = self._draw_items("RGB", (self.background,) * 3, dict(enumerate(colours)))
        small = canvas.resize(self.options.size[::-1], Image.Resampling.BOX)
        return torch.from_numpy(np.array(small)).permute(2, 0, 1).contiguous()

    def target_and_distractor_masks(self) -> tuple[Bool[Tensor, "H W"], Bool[Tensor, "H W"]]:
        """Return the pixels of the target and the pixels of the distractors."""
        others = [i for i in range(len(self.x)) if i != self.target]
        masks = []
        for members in ([self.target], others):
            canvas = self._draw_items("L", 0, dict.fromkeys(members, 255))
            small = canvas.resize(self.options.size[::-1], Image.Resampling.BOX)
            masks.append(torch.from_numpy(np.array(small)) >= 128)
        return masks[0], masks[1]

    def sample_fixations(self, count: int) -> NDArray[np.float64]:
        """Draw fixations (x, y), (N, 2); N ≤ `count`, because points off the image are left out."""
        height, width = self.options.size
        extent = np.array([width, height])
        target = np.array([self.x[self.target], self.y[self.target]])
        kind = self.generator.choice(3, size=(count, 1), p=[0.65, 0.25, 0.10])
        near = self.generator.normal(target, 0.025 * width, (count, 2))
        central = self.generator.normal(extent / 2, 0.22 * extent, (count, 2))
        anywhere = self.generator.uniform(0, extent, (count, 2))
        points: NDArray[np.float64] = np.choose(kind, [near, central, anywhere]) - 0.5
        inside = (points >= -0.5).all(1) & (points < extent - 0.5).all(1)
        return points[inside]

    def _draw_items(self, mode: str, ground: object, fills: dict[int, object]) -> Image.Image:
        height, width = self.options.size
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
