"""Grids of fields: one tile per unit, red excites, blue inhibits, 0 is white."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from deepsal.rf.measures.profile import luminance_field, smooth_field
from deepsal.rf.plot.tile_board import (
    LABEL_HEIGHT,
    LINE_HEIGHT,
    PAGE_MARGIN,
    TILE_GAP,
    FieldReliability,
    TileBoard,
    caption_height,
    smoothing_note,
)
from deepsal.rf.plot.tiles import SIGN_LEGEND, TILE_SIDE, dead_units, display_side, field_tiles


def draw_field_grid(
    field: NDArray[np.float32],
    units: Sequence[int],
    title: str,
    smooth: float = 0.0,
    pixels_per_degree: float | None = None,
    reliability: FieldReliability | None = None,
) -> Figure:
    """Draw the luminance fields of many units as one grid.

    Every panel has its own scale, symmetric about 0. All show the same central square, which holds
    98 % of the |field| of the median unit; the note below the grid states its side.

    Args:
        field: float32 (U, 3, h, w); a unit of NaN is drawn grey and labelled dead.
        units: U channel numbers, written above the panels.
        title: method, stage, checkpoint.
        smooth: Gaussian blur before drawing, standard deviation in pixels; stated in the note.
        pixels_per_degree: of visual angle; None if unknown.
        reliability: of the U fields, written under the panels; a field below .5 is faded. None: it
            is unknown.
    """
    maps = smooth_field(luminance_field(field), smooth)
    side = display_side(maps)
    columns = int(np.ceil(np.sqrt(len(maps))))
    note = f"panel {side} px, each its own scale, {SIGN_LEGEND}{smoothing_note(smooth)}"
    shape, below = (-(-len(maps) // columns), columns), caption_height(reliability)
    board = TileBoard(shape, TILE_SIDE, LABEL_HEIGHT, title, note, below=below)
    tiles = field_tiles(maps, side)
    for i, (unit, tile, dead) in enumerate(zip(units, tiles, dead_units(maps), strict=True)):
        row, column = divmod(i, columns)
        board.place_field(row, column, tile, bool(dead), reliability, i)
        board.write_text(board.left[column] + TILE_SIDE // 2, board.top[row] - 3, str(unit))
    board.draw_scale_bar(board.left[0], board.bottom + 10, side, pixels_per_degree)
    return board.to_figure()


def draw_field_change(
    before: Mapping[str, NDArray[np.float32]],
    after: Mapping[str, NDArray[np.float32]],
    labels: tuple[str, str],
    title: str,
    smooth: Mapping[str, float],
    units: int = 12,
    reliability: Mapping[str, FieldReliability] | None = None,
) -> Figure:
    """Draw the same units of every stage at two checkpoints, one row above the other.

    Args:
        before: `{stage: field (U, 3, h, w)}` at the first checkpoint.
        after: the same at the second.
        labels: of the two rows, such as ("epoch 0", "epoch 6").
        title: what was trained on what.
        smooth: Gaussian blur per stage, standard deviation in pixels.
        units: number of units of each stage to draw, the first ones.
        reliability: of the fields of each stage, (2, U), before and after; None: it is unknown.
    """
    note = f"signed fields, {SIGN_LEGEND}, each panel its own scale, smoothed by stride/4"
    above, size, below = [LABEL_HEIGHT, TILE_GAP] * len(before), 72, 0
    if reliability is not None:
        above, below = [TILE_GAP] * 2 * len(before), LINE_HEIGHT
    board = TileBoard((2 * len(before), units), size, above, title, note, left=150, below=below)
    for i, stage in enumerate(before):
        of_stage = None if reliability is None else reliability[stage]
        maps = [
            smooth_field(luminance_field(field[stage]), smooth[stage]) for field in (before, after)
        ]
        side = max(display_side(m) for m in maps)
        for time, (label, fields) in enumerate(zip(labels, maps, strict=True)):
            row = 2 * i + time
            tiles = zip(field_tiles(fields[:units], side, size), dead_units(fields), strict=False)
            for column, (tile, dead) in enumerate(tiles):
                board.place_field(row, column, tile, bool(dead), of_stage, time, column)
            board.write_text(
                board.left[0] - 6, board.top[row] + size // 2, label, "right", "center"
            )
        middle = board.top[2 * i + 1] - (TILE_GAP + below) // 2
        board.write_text(PAGE_MARGIN, middle - 18, stage, "left", "center", "black")
        board.write_text(PAGE_MARGIN, middle, f"panel {side} px", "left", "center")
        board.draw_scale_bar(PAGE_MARGIN, middle + 18, side)
    return board.to_figure()
