"""Lines over training as plain data that a template draws as inline SVG."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.ticker import MaxNLocator

CHART_WIDTH, CHART_HEIGHT = 350, 220
LEFT_MARGIN, RIGHT_MARGIN, TOP_MARGIN, BOTTOM_MARGIN = 46, 62, 12, 34
LABEL_SPACING = 12
"""Least distance of the labels at the ends of lines, pixels."""
MAX_DOTS = 40
"""From so many points on a line has no dots."""


class DataLine(NamedTuple):
    """A line and, where known, an interval at each of its points; NaN where there is no value."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


class AxisTick(NamedTuple):
    """A place on an axis, pixels, and what stands there."""

    at: float
    label: str


class PixelLine(NamedTuple):
    """A line in pixels: its points, its intervals (x, low, high), and where its name stands."""

    name: str
    points: list[tuple[float, float]]
    bars: list[tuple[float, float, float]]
    label: tuple[float, float]
    dots: bool


class LineChart(NamedTuple):
    """What `chart.html` draws; `rows` are the numbers for those who do not see it."""

    title: str
    x_label: str
    lines: list[PixelLine]
    x_ticks: list[AxisTick]
    y_ticks: list[AxisTick]
    names: list[str]
    rows: list[tuple[str, list[str]]]
    scale: tuple[float, float]
    size: tuple[int, int] = (CHART_WIDTH, CHART_HEIGHT)
    frame: tuple[int, int, int, int] = (
        LEFT_MARGIN,
        TOP_MARGIN,
        CHART_WIDTH - RIGHT_MARGIN,
        CHART_HEIGHT - BOTTOM_MARGIN,
    )


def line_chart(title: str, x_label: str, lines: Sequence[DataLine]) -> LineChart | None:
    """Lay lines out; None where no line has a value.

    `scale` turns x into pixels: at = scale[0] + scale[1] · x.

    >>> made = line_chart("csi", "epoch", [DataLine("conv1", [0, 2], [0.0, 1.0])])
    >>> made.lines[0].points, made.scale
    ([(46.0, 186.0), (288.0, 12.0)], (46.0, 121.0))
    """
    lines = [DataLine(n.name, *([float(v) for v in part] for part in n[1:])) for n in lines]
    y = np.concatenate([np.concatenate([n.y, n.low, n.high]) for n in lines] or [np.empty(0)])
    if not np.isfinite(y).any():
        return None
    x = np.concatenate([np.asarray(line.x, float) for line in lines])
    low, high = float(x.min()), float(x.max())
    bottom, top = _axis_range(float(np.nanmin(y)), float(np.nanmax(y)))
    across = (CHART_WIDTH - RIGHT_MARGIN - LEFT_MARGIN) / ((high - low) or 1.0)
    up = (CHART_HEIGHT - BOTTOM_MARGIN - TOP_MARGIN) / (top - bottom)

    def place(a: float, b: float) -> tuple[float, float]:
        return round(LEFT_MARGIN + (a - low) * across, 1), round(
            CHART_HEIGHT - BOTTOM_MARGIN - (b - bottom) * up, 1
        )

    drawn = []
    for i, line in enumerate(lines):
        known = [j for j, value in enumerate(line.y) if np.isfinite(value)]
        points = [place(line.x[j], line.y[j]) for j in known]
        shift = 2.0 * (i - (len(lines) - 1) / 2)  # so that intervals do not hide each other
        bars = [
            (points[n][0] + shift, place(low, line.low[j])[1], place(low, line.high[j])[1])
            for n, j in enumerate(known)
            if len(line.low) and np.isfinite(line.low[j])
        ]
        end = points[-1] if points else (float(LEFT_MARGIN), float(CHART_HEIGHT - BOTTOM_MARGIN))
        drawn.append(PixelLine(line.name, points, bars, end, len(points) < MAX_DOTS))
    heights = _spread_labels([d.label[1] for d in drawn])
    drawn = [
        d._replace(label=(CHART_WIDTH - RIGHT_MARGIN + 7, h))
        for d, h in zip(drawn, heights, strict=True)
    ]
    x_ticks = [
        AxisTick(place(t, bottom)[0], f"{t:g}") for t in _tick_values(low, high, 6, whole=True)
    ]
    y_ticks = [AxisTick(place(low, t)[1], f"{t:.6g}") for t in _tick_values(bottom, top, 5)]
    names = [line.name for line in lines]
    scale = round(LEFT_MARGIN - low * across, 3), round(across, 3)
    return LineChart(title, x_label, drawn, x_ticks, y_ticks, names, _table_rows(lines), scale)


def _axis_range(bottom: float, top: float) -> tuple[float, float]:
    ticks = MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]).tick_values(bottom, top)
    return float(ticks[0]), float(ticks[-1])


def _tick_values(low: float, high: float, count: int, whole: bool = False) -> list[float]:
    steps = MaxNLocator(count, integer=whole, steps=[1, 2, 5, 10] if whole else [1, 2, 2.5, 5, 10])
    slack = 1e-9 * max(abs(low), abs(high), 1.0)
    found = [float(np.round(tick, 10)) for tick in steps.tick_values(low, high)]
    return [tick + 0.0 for tick in found if low - slack <= tick <= high + slack]


def _spread_labels(heights: Sequence[float]) -> list[float]:
    """Move labels apart, in their order, and keep them in the picture."""
    order = np.argsort(heights, kind="stable")
    placed = list(heights)
    last = -np.inf
    for i in order:
        last = placed[i] = max(placed[i], last + LABEL_SPACING)
    above = max(last - (CHART_HEIGHT - BOTTOM_MARGIN + 6), 0)
    limit = np.inf
    for i in reversed(order):
        if above:
            placed[i] = min(placed[i], limit, CHART_HEIGHT - BOTTOM_MARGIN + 6)
            limit = placed[i] - LABEL_SPACING
    return [float(round(height, 1)) for height in placed]


def _table_rows(lines: Sequence[DataLine]) -> list[tuple[str, list[str]]]:
    places = sorted({float(x) for line in lines for x in line.x})
    table = {place: [""] * len(lines) for place in places}
    for column, line in enumerate(lines):
        for i, (x, y) in enumerate(zip(line.x, line.y, strict=True)):
            if np.isfinite(y):
                ends = f" [{line.low[i]:.3g}, {line.high[i]:.3g}]" if len(line.low) else ""
                table[float(x)][column] = f"{y:.3g}{'' if 'nan' in ends else ends}"
    return [(f"{place:.3g}", cells) for place, cells in table.items()]
