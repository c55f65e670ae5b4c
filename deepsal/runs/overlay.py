"""Figures of predicted densities on their images."""

import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from jaxtyping import UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import AbstractPathEffect, withStroke
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from deepsal.runs.image_boxes import Box

HEAT_COLOURS = mpl.colormaps["inferno"]
LARGEST_OPACITY = 0.85
"""Opacity of the heat map at its maximum."""
LONGEST_PANEL = 1000
"""Longest side of an image in a figure of several, in pixels."""
DPI = 150


def blend_heat_map(
    pixels: UInt8[Tensor, "3 H W"], density: NDArray[np.float32], maximum: float | None = None
) -> NDArray[np.uint8]:
    """Return an image with the heat map of a density over it, (H, W, 3).

    The colours are those of `inferno`, which is perceptually uniform. The opacity rises with the
    square root of the density, from 0, so that the image stays visible where nobody looks.

    Args:
        pixels: the image.
        density: (H, W).
        maximum: density of the brightest colour; None for the map's own.
    """
    picture = pixels.permute(1, 2, 0).numpy().astype(np.float32)
    level = np.clip(density / (maximum or density.max()), 0, 1)
    colour = HEAT_COLOURS(level, bytes=True)[..., :3]
    opacity = LARGEST_OPACITY * np.sqrt(level)[..., None]
    return np.asarray((picture + opacity * (colour - picture)).round().astype(np.uint8))


def png_of(pixels: NDArray[np.uint8]) -> bytes:
    """Return pixels (H, W, 3) as a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=4)
    return buffer.getvalue()


def draw_comparison(
    names: tuple[str, str],
    images: tuple[UInt8[Tensor, "3 H W"], UInt8[Tensor, "3 H W"]],
    densities: tuple[NDArray[np.float32], NDArray[np.float32]],
    boxes: Sequence[Sequence[Box]] = ((), ()),
) -> Figure:
    """Draw two versions of an image with their densities on one scale, and the difference.

    The unit is the density of a viewer who looks everywhere alike, 1.

    Args:
        names: titles.
        images: of one size.
        densities: (H, W) each.
        boxes: of each image; those of the second are drawn on the difference too.
    """
    height, width = densities[0].shape
    step = -(-max(height, width) // LONGEST_PANEL)
    relative = [density * density.size for density in densities]
    top = max(float(density.max()) for density in relative)
    difference = relative[1] - relative[0]
    largest = float(np.abs(difference).max()) or 1.0
    panel = 3.6
    figure = Figure(figsize=(3 * panel, panel * height / width + 0.85), dpi=DPI, facecolor="white")
    figure.set_layout_engine("constrained")
    axes = figure.subplots(1, 3)
    for axis, title, pixels, density, own in zip(
        axes, names, images, relative, boxes, strict=False
    ):
        small = blend_heat_map(pixels, density, top)[::step, ::step]
        axis.imshow(small, extent=(0, width, height, 0))
        axis.set_title(_short_title(title), fontsize=9)
        draw_boxes(axis, own)
    grey = images[1].float().mean(0).numpy()[::step, ::step]
    axes[2].imshow(grey, cmap="gray", vmin=-150, vmax=255, extent=(0, width, height, 0))
    opacity = np.sqrt(np.abs(difference) / largest)[::step, ::step]
    change = axes[2].imshow(
        difference[::step, ::step],
        cmap="RdBu_r",
        vmin=-largest,
        vmax=largest,
        alpha=opacity,
        extent=(0, width, height, 0),
    )
    axes[2].set_title("difference, second − first", fontsize=9)
    draw_boxes(axes[2], boxes[1])
    scale = mpl.cm.ScalarMappable(mpl.colors.Normalize(0, top), HEAT_COLOURS)
    bars = (
        figure.colorbar(scale, ax=axes[:2], location="bottom", shrink=0.5, aspect=40, pad=0.02),
        figure.colorbar(change, ax=axes[2], location="bottom", shrink=0.9, aspect=30, pad=0.02),
    )
    for bar, label in zip(bars, ("density of fixations", "change of the density"), strict=True):
        bar.set_label(f"{label} (1: looking everywhere alike)", fontsize=8)
        bar.ax.tick_params(labelsize=7)
        bar.set_alpha(1)
    for axis in axes:
        axis.axis("off")
    return figure


def draw_boxes(axis: Axes, boxes: Sequence[Box]) -> None:
    """Draw labelled boxes on an axis in pixels."""
    outline: list[AbstractPathEffect] = [withStroke(linewidth=2.2, foreground="black")]
    for box in boxes:
        corner, width, height = (box.x0, box.y0), box.x1 - box.x0, box.y1 - box.y0
        edge = Rectangle(corner, width, height, fill=False, edgecolor="white", linewidth=1)
        edge.set_path_effects(outline)
        axis.add_patch(edge)
        label = axis.text(box.x0, box.y0, f" {box.label}", color="white", fontsize=7, va="top")
        label.set_path_effects(outline)


def _short_title(name: str) -> str:
    """Return the end of a path that fits over a panel.

    >>> _short_title("short.jpg"), len(_short_title("long" * 20))
    ('short.jpg', 40)
    """
    return name if len(name) <= 40 else f"…{name[-39:]}"


def save_figure(figure: Figure, file: Path) -> None:
    """Write a figure as a PNG to a path of any name."""
    figure.savefig(file, format="png")
