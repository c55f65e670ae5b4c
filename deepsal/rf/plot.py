"""Pictures of fields: the same units in the same places, red excites, blue inhibits, 0 is white."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from deepsal.rf.measure import luminance, smoothed

COLOURS = "RdBu_r"
SHOWN = 0.98


def grid(
    field: NDArray[np.float32], units: Sequence[int], title: str, smooth: float = 0.0
) -> Figure:
    """Draw the luminance fields of many units as one grid.

    Every panel has its own scale, symmetric about 0, and all show the same central square, which
    holds 98 % of the |field| of the median unit; its side stands below the grid.

    Args:
        field: float32 (U, 3, h, w); NaN units are drawn grey, as dead.
        units: U channel numbers, written beside the panels.
        title: method, stage, checkpoint.
        smooth: Gaussian blur before drawing, standard deviation in pixels; said in the picture.
    """
    maps = smoothed(luminance(field), smooth)
    side = shown_side(maps)
    columns = int(np.ceil(np.sqrt(len(maps))))
    rows = -(-len(maps) // columns)
    figure = Figure(figsize=(0.9 * columns + 0.2, 0.98 * rows + 0.75), dpi=100, facecolor="white")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes:
        axis.axis("off")
    for axis, unit, w in zip(axes, units, maps, strict=False):
        panel(axis, w, side)
        axis.set_title(str(unit), fontsize=6, pad=1, color="0.4")
    note = f"panel {side} px, own scale, red + / blue −"
    note += f", smoothed {smooth:g} px" if smooth else ""
    figure.suptitle(title, fontsize=9, y=1 - 0.08 / figure.get_figheight(), va="top")
    figure.text(0.5, 0.06 / figure.get_figheight(), note, ha="center", fontsize=7, color="0.3")
    top = 0.42 / figure.get_figheight()
    bottom = 0.25 / figure.get_figheight()
    figure.subplots_adjust(0.02, bottom, 0.98, 1 - top, wspace=0.08, hspace=0.2)
    return figure


def change(
    before: Mapping[str, NDArray[np.float32]],
    after: Mapping[str, NDArray[np.float32]],
    labels: tuple[str, str],
    title: str,
    smooth: Mapping[str, float],
    units: int = 12,
) -> Figure:
    """Draw the same units of every stage at two checkpoints, one row above the other.

    Args:
        before: `{stage: field (U, 3, h, w)}` at the first checkpoint.
        after: the same at the second.
        labels: of the two rows, such as ("epoch 0", "epoch 6").
        title: what was trained on what.
        smooth: Gaussian blur per stage, standard deviation in pixels.
        units: how many of each stage are shown, the first ones.
    """
    figure = Figure(figsize=(0.62 * units + 1.3, 1.42 * len(before) + 0.75), dpi=120)
    figure.set_facecolor("white")
    top, bottom = 1 - 0.42 / figure.get_figheight(), 0.28 / figure.get_figheight()
    sides = {"left": 0.13, "right": 0.99, "bottom": bottom, "top": top}
    outer = figure.add_gridspec(len(before), 1, hspace=0.14, **sides)
    for stage, place in zip(before, (outer[i, 0] for i in range(len(before))), strict=True):
        maps = [smoothed(luminance(field[stage]), smooth[stage]) for field in (before, after)]
        side = max(shown_side(m) for m in maps)
        axes = place.subgridspec(2, units, wspace=0.06, hspace=0.06).subplots(squeeze=False)
        for row, label, shown in zip(axes, labels, maps, strict=True):
            for axis in row:
                axis.axis("off")
            for axis, w in zip(row, shown, strict=False):
                panel(axis, w, side)
            box = row[0].get_position()
            middle = (box.y0 + box.y1) / 2
            figure.text(0.122, middle, label, ha="right", va="center", fontsize=7, color="0.35")
        low, high = axes[1][0].get_position().y0, axes[0][0].get_position().y1
        figure.text(0.008, (low + high) / 2, f"{stage}\n{side} px", va="center", fontsize=9)
    figure.suptitle(title, fontsize=9, y=1 - 0.08 / figure.get_figheight(), va="top")
    note = "mean signed gradients, red + / blue −, each panel its own scale, smoothed by stride/4"
    figure.text(0.5, 0.06 / figure.get_figheight(), note, ha="center", fontsize=7, color="0.35")
    return figure


def panel(axis: Any, w: NDArray[np.float32], side: int) -> None:
    """Draw one luminance field (h, w) on a matplotlib axis, its scale symmetric about 0."""
    axis.set_xticks([])
    axis.set_yticks([])
    if not np.isfinite(w).all():
        axis.axis("on")
        axis.set_facecolor("0.85")
        axis.text(0.5, 0.5, "dead", transform=axis.transAxes, ha="center", va="center", size=7)
        return
    middle = _centre(w, side)
    largest = float(np.abs(middle).max()) or 1.0
    axis.imshow(middle, cmap=COLOURS, vmin=-largest, vmax=largest, interpolation="nearest")


def shown_side(maps: NDArray[np.float32]) -> int:
    """Return the odd side of the central square that holds 98 % of the median unit's |field|."""
    alive = np.abs(maps[np.isfinite(maps).all((1, 2))])
    height, width = maps.shape[1:]
    largest: int = max(height, width)
    if not len(alive):
        return largest
    share = alive / np.maximum(alive.sum((1, 2), keepdims=True), np.finfo(np.float32).tiny)
    for side in range(3, largest, 2):
        if np.median([_centre(w, side).sum() for w in share]) >= SHOWN:
            return side
    return largest


def png(figure: Figure) -> bytes:
    """Return the figure as a PNG file's bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _centre(w: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    (top, height), (left, width) = ((max((n - side) // 2, 0), min(n, side)) for n in w.shape)
    return w[top : top + height, left : left + width]
