"""Sheets of units: fields through training, strongest patches, and radial profiles."""

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from deepsal.rf.measures.profile import luminance_field, smooth_field
from deepsal.rf.plot.tile_board import (
    DPI,
    FADED_SHARE,
    LINE_HEIGHT,
    TILE_GAP,
    FieldReliability,
    TileBoard,
    caption_height,
    smoothing_note,
)
from deepsal.rf.plot.tiles import (
    MISSING_GREY,
    SIGN_LEGEND,
    TILE_SIDE,
    dead_units,
    display_side,
    field_tiles,
    resampling_matrix,
)

MOST_PROFILE_AXES = 16
"""Up to so many units get an axis each."""
OUTLINE_YELLOW, POSITIVE_RED, NEGATIVE_BLUE = (255, 215, 0), "#b2182b", "#2166ac"


def draw_evolution_sheet(
    fields: NDArray[np.float32],
    units: Sequence[int],
    checkpoints: Sequence[str],
    title: str,
    smooth: float = 0.0,
    pixels_per_degree: float | None = None,
    reliability: FieldReliability | None = None,
) -> Figure:
    """Draw the luminance fields of units (rows) through training (columns).

    A unit has one scale at all checkpoints, so that its growth shows. Colours go with √|w|, so that
    a field that grows tenfold starts with a third of the full colour. All panels show the same
    central square.

    Args:
        fields: float32 (T, U, 3, h, w); a unit of NaN is drawn grey and labelled dead.
        units: U channel numbers.
        checkpoints: T headings, such as "epoch 2".
        title: method and stage.
        smooth: Gaussian blur before drawing, standard deviation in pixels; stated in the note.
        pixels_per_degree: of visual angle; None if unknown.
        reliability: of the fields, (T, U), written under the panels; a field below .5 is faded.
            None: it is unknown.
    """
    maps = np.stack([smooth_field(luminance_field(field), smooth) for field in fields], 1)
    side = max(display_side(maps[:, t]) for t in range(len(fields)))
    tiles = field_tiles(maps, side, scale_axes=(1, 2, 3), power=0.5)
    scale = "one scale per row, colour by √|w|"
    note = f"panel {side} px, {scale}, {SIGN_LEGEND}{smoothing_note(smooth)}"
    dead, turned = dead_units(maps), None
    if reliability is not None:
        turned = reliability._replace(value=reliability.value.T)
    return _draw_unit_rows(
        tiles, dead, units, checkpoints, title, note, side, pixels_per_degree, turned
    )


def draw_patch_sheet(
    images: NDArray[np.uint8],
    outline: tuple[int, int],
    units: Sequence[int],
    title: str,
    present: NDArray[np.bool],
    pixels_per_degree: float | None = None,
    fields: NDArray[np.float32] | None = None,
) -> Figure:
    """Draw the patches to which units (rows) respond most, with their theoretical field in a box.

    Each patch is followed by the field on it, if there is one: what the unit saw and what it used.

    Args:
        images: uint8 (U, K, h, w, 3), each centred on the unit's field.
        outline: height and width of the theoretical field in pixels; cut at the edge of the patch.
        units: U channel numbers.
        title: stage, checkpoint and data set.
        present: (U, K), False for no patch, which is drawn grey.
        pixels_per_degree: of visual angle; None if unknown.
        fields: float32 (U, K, 3, h, w), aligned on the units; None: patches alone.
    """
    height, width = images.shape[2:4]
    side = max(height, width)
    rows, columns = (resampling_matrix(n, side, TILE_SIDE) for n in (height, width))
    darkness = rows @ np.moveaxis(255 - images, -1, -3).astype(np.float32) @ columns.T
    tiles = 255 - np.rint(np.moveaxis(darkness, -3, -1)).astype(np.uint8)
    distance = np.abs(_distance_from_box((height, width), outline, side))
    tiles[:, :, distance < 2] = 0
    tiles[:, :, distance < 1] = OUTLINE_YELLOW
    tiles[~present] = MISSING_GREY
    box = f"box: the theoretical field, {outline[0]} × {outline[1]} px"
    note = f"patch {height} × {width} px, {box}"
    note += ", cut at the patch" if outline[0] > height or outline[1] > width else ""
    note += "" if present.all() else ", grey: no patch"
    headings = [f"patch {k + 1}" for k in range(images.shape[1])]
    dead = np.zeros_like(present)
    if fields is not None:
        count = len(images), 2 * images.shape[1]
        on_patches = field_tiles(fields.mean(2), side)
        tiles = np.stack([tiles, on_patches], 2).reshape(*count, *tiles.shape[2:])
        dead = np.stack([dead, ~present], 2).reshape(count)
        headings = [text for patch in headings for text in (patch, "field on it")]
        note += f"; fields: each its own scale, {SIGN_LEGEND}"
    return _draw_unit_rows(tiles, dead, units, headings, title, note, side, pixels_per_degree)


def draw_profile_sheet(
    profile: NDArray[np.float64],
    radius: NDArray[np.float64],
    units: Sequence[int],
    title: str,
    pixels_per_degree: float | None = None,
    reliability: FieldReliability | None = None,
) -> Figure:
    """Draw radial profiles, each divided by its largest |value|.

    Up to 16 units have an axis each. More units share one: thin lines, median and quartiles.

    Args:
        profile: (U, R) means over rings, NaN for dead units.
        radius: (R,) pixels.
        units: U channel numbers.
        title: method, stage, checkpoint.
        pixels_per_degree: of visual angle, which adds axes in degrees; None if unknown.
        reliability: of the U fields, written on the axes of units; a profile of a field below .5 is
            faded. None: it is unknown.
    """
    largest = np.abs(profile).max(1, keepdims=True)
    scaled = profile / np.where(largest == 0, 1, largest)
    panels = len(units) if len(units) <= MOST_PROFILE_AXES else 1
    columns = int(np.ceil(np.sqrt(panels)))
    rows = -(-panels // columns)
    width, height = (1.3 * columns + 0.6, rows + 0.9) if panels > 1 else (5.0, 3.4)
    figure = Figure(figsize=(width, height), dpi=DPI)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    axes = list(grid.ravel()[:panels])
    for axis in grid.ravel()[panels:]:
        axis.remove()
    if panels < len(units):
        _draw_profile_quartiles(axes[0], radius, scaled)
    else:
        for i, (axis, unit, values) in enumerate(zip(axes, units, scaled, strict=True)):
            caption = f"\n{reliability.caption(i)}" if reliability is not None else ""
            faded = reliability is not None and bool(reliability.warning(i))
            _draw_unit_profile(axis, radius, values, f"unit {unit}{caption}", faded)
    for axis in axes[-columns:]:
        axis.tick_params(labelbottom=True)
    if pixels_per_degree is not None:
        both = (lambda r: r / pixels_per_degree, lambda angle: angle * pixels_per_degree)
        axes += [axis.secondary_xaxis("top", functions=both) for axis in axes[:columns]]
    for axis in axes:
        axis.tick_params(labelsize=5.5, length=2)
        axis.spines[:].set_linewidth(0.6)
    grid[0, 0].set(xlim=(0, max(radius[-1], 1)), ylim=(-1.08, 1.08), yticks=(-1, 0, 1))
    head = textwrap.fill(title, int(width * DPI) // 8)
    above = 0.16 + 0.13 * head.count("\n") + (0.26 if pixels_per_degree is not None else 0.1)
    edges = (0.42 / width, 0.38 / height, 1 - 0.12 / width, 1 - above / height)
    figure.subplots_adjust(*edges, wspace=0.12, hspace=0.18)
    figure.suptitle(head, fontsize=7, y=1 - 0.04 / height)
    angle = "" if pixels_per_degree is None else "; above: degrees of visual angle"
    figure.supxlabel(f"distance from the middle, px{angle}", fontsize=5.5, y=0.05 / height)
    figure.supylabel("mean over the ring / largest |mean|", fontsize=5.5, x=0.05 / width)
    return figure


def _draw_unit_profile(
    axis: Axes, radius: NDArray[np.float64], values: NDArray[np.float64], label: str, faded: bool
) -> None:
    axis.text(0.97, 0.95, label, transform=axis.transAxes, ha="right", va="top", size=5.5)
    if not np.isfinite(values).all():
        axis.set_facecolor((MISSING_GREY / 255,) * 3)
        axis.text(0.5, 0.3, "dead", transform=axis.transAxes, ha="center", size=5.5)
        return
    strength = FADED_SHARE if faded else 1.0
    if faded:
        axis.text(0.5, 0.1, "unreliable", transform=axis.transAxes, ha="center", size=5.5)
    for sign, colour in ((1, POSITIVE_RED), (-1, NEGATIVE_BLUE)):
        area = axis.fill_between(radius, values, where=sign * values > 0, interpolate=True)
        area.set(color=colour, alpha=strength, linewidth=0)
    axis.axhline(0, color="0.5", linewidth=0.6)
    axis.plot(radius, values, color="black", linewidth=0.8, alpha=strength)


def _draw_profile_quartiles(
    axis: Axes, radius: NDArray[np.float64], scaled: NDArray[np.float64]
) -> None:
    alive = scaled[np.isfinite(scaled).all(1)]
    if not len(alive):
        axis.text(0.5, 0.3, "all dead", transform=axis.transAxes, ha="center", size=7)
        return
    low, middle, high = np.percentile(alive, (25, 50, 75), axis=0)
    axis.axhline(0, color="0.3", linewidth=0.6)
    axis.plot(radius, alive.T, color="0.6", linewidth=0.3)
    axis.fill_between(
        radius, low, high, color=NEGATIVE_BLUE, alpha=0.35, linewidth=0, label="quartiles"
    )
    axis.plot(radius, middle, color=NEGATIVE_BLUE, linewidth=1.8, label="median")
    dead = f", {len(scaled) - len(alive)} dead" if len(alive) < len(scaled) else ""
    axis.legend(title=f"{len(alive)} units{dead}", fontsize=5.5, title_fontsize=5.5, frameon=False)


def _draw_unit_rows(
    tiles: NDArray[np.uint8],
    dead: NDArray[np.bool],
    units: Sequence[int],
    headings: Sequence[str],
    title: str,
    note: str,
    side: int,
    pixels_per_degree: float | None,
    reliability: FieldReliability | None = None,
) -> Figure:
    """Draw tiles (U, K, size, size, 3), a row per numbered unit, under headings."""
    count, columns, size = tiles.shape[:3]
    wrapped = [textwrap.wrap(heading, size // 6) for heading in headings]
    above = [LINE_HEIGHT * max(map(len, wrapped)) + 6] + [TILE_GAP] * (count - 1)
    below = caption_height(reliability)
    board = TileBoard((count, columns), size, above, title, note, left=54, below=below)
    for row, unit in zip(range(count), units, strict=True):
        board.write_text(
            board.left[0] - 6, board.top[row] + size // 2, str(unit), "right", "center"
        )
        for column in range(columns):
            tile, without = tiles[row, column], bool(dead[row, column])
            board.place_field(row, column, tile, without, reliability, row, column)
    for left, lines in zip(board.left, wrapped, strict=True):
        for i, line in enumerate(reversed(lines)):
            board.write_text(left + size // 2, board.top[0] - 4 - LINE_HEIGHT * i, line)
    board.write_text(board.left[0] - 6, board.top[0] - 4, "unit", "right")
    board.draw_scale_bar(board.left[0], board.bottom + 10, side, pixels_per_degree)
    return board.to_figure()


def _distance_from_box(
    shape: tuple[int, int], outline: tuple[int, int], side: int
) -> NDArray[np.float64]:
    """Return the distance of a tile's pixels from a box in its patch's middle, < 0 inside."""
    across = []
    for n, length in zip(shape, outline, strict=True):
        middle, half = n / 2 - (n - side) // 2, min(length, n) / 2
        place = (np.arange(TILE_SIDE) + 0.5) * side / TILE_SIDE
        across.append((np.abs(place - middle) - half) * TILE_SIDE / side)
    return np.maximum(across[0][:, None], across[1])
