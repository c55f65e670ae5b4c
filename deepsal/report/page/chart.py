"""Line charts over training as plain data, which a template draws as inline SVG."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.ticker import MaxNLocator

CHART_SIZE = (350, 220)
"""Width and height, pixels."""
LEFT, TOP, RIGHT, BOTTOM = CHART_FRAME = (46, 12, 288, 186)
"""Edges of the area that holds the lines, pixels."""
LABEL_SPACING = 12
"""Smallest distance of the labels at the ends of lines, pixels."""
MAX_DOTS = 40
"""Number of points from which a line has no dots."""


class DataLine(NamedTuple):
    """A line, the intervals of its points and its ceiling, if any; NaN at a point without one."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    ceiling: Sequence[float] = ()


class AxisTick(NamedTuple):
    """A position on an axis, pixels, and its label."""

    position: float
    label: str


class PixelLine(NamedTuple):
    """A line in pixels: its points and intervals (x, low, high), its name's place, its ceiling."""

    name: str
    points: list[tuple[float, float]]
    intervals: list[tuple[float, float, float]]
    label: tuple[float, float]
    dots: bool
    ceiling: list[tuple[float, float]]


class LineChart(NamedTuple):
    """The data of `chart.html`; `rows` are the numbers as a table, for screen readers.

    scale: turns x into pixels, position = scale[0] + scale[1] · x.
    """

    title: str
    x_label: str
    lines: list[PixelLine]
    x_ticks: list[AxisTick]
    y_ticks: list[AxisTick]
    names: list[str]
    rows: list[tuple[str, list[str]]]
    scale: tuple[float, float]
    size: tuple[int, int] = CHART_SIZE
    frame: tuple[int, int, int, int] = CHART_FRAME


def line_chart(title: str, x_label: str, lines: Sequence[DataLine]) -> LineChart | None:
    """Return the layout of a chart; None where no line has a value.

    >>> chart = line_chart("csi", "epoch", [DataLine("conv1", [0, 2], [0.0, 1.0])])
    >>> chart.lines[0].points, chart.scale
    ([(46.0, 186.0), (288.0, 12.0)], (46.0, 121.0))
    """
    lines = [DataLine(n.name, *([float(v) for v in part] for part in n[1:])) for n in lines]
    y = np.array([v for n in lines for v in (*n.y, *n.low, *n.high, *n.ceiling)])
    if not np.isfinite(y).any():
        return None
    x = np.concatenate([np.asarray(line.x, float) for line in lines])
    first, last = float(x.min()), float(x.max())
    low, high = _axis_range(float(np.nanmin(y)), float(np.nanmax(y)))
    across, up = (RIGHT - LEFT) / ((last - first) or 1.0), (BOTTOM - TOP) / (high - low)

    def at_x(value: float) -> float:
        return round(LEFT + (value - first) * across, 1)

    def at_y(value: float) -> float:
        return round(BOTTOM - (value - low) * up, 1)

    pixel_lines = []
    for i, line in enumerate(lines):
        indices = [j for j, value in enumerate(line.y) if np.isfinite(value)]
        points = [(at_x(line.x[j]), at_y(line.y[j])) for j in indices]
        shift = 2.0 * (i - (len(lines) - 1) / 2)  # so that intervals do not hide each other
        intervals = [
            (point[0] + shift, at_y(line.low[j]), at_y(line.high[j]))
            for point, j in zip(points, indices, strict=True)
            if len(line.low) and np.isfinite(line.low[j])
        ]
        label = (RIGHT + 7, points[-1][1] if points else float(BOTTOM))
        dots = len(points) < MAX_DOTS
        ceiling = [
            (at_x(x), at_y(y)) for x, y in zip(line.x, line.ceiling, strict=False) if np.isfinite(y)
        ]
        pixel_lines.append(PixelLine(line.name, points, intervals, label, dots, ceiling))
    heights = _spread_labels([line.label[1] for line in pixel_lines])
    return LineChart(
        title,
        x_label,
        [
            line._replace(label=(line.label[0], height))
            for line, height in zip(pixel_lines, heights, strict=True)
        ],
        x_ticks=[AxisTick(at_x(t), f"{t:g}") for t in _tick_values(first, last, 6, whole=True)],
        y_ticks=[AxisTick(at_y(t), f"{t:.6g}") for t in _tick_values(low, high, 5)],
        names=[line.name for line in lines],
        rows=_table_rows(lines),
        scale=(round(LEFT - first * across, 3), round(across, 3)),
    )


def _axis_range(bottom: float, top: float) -> tuple[float, float]:
    ticks = MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]).tick_values(bottom, top)
    return float(ticks[0]), float(ticks[-1])


def _tick_values(low: float, high: float, count: int, whole: bool = False) -> list[float]:
    steps = MaxNLocator(count, integer=whole, steps=[1, 2, 5, 10] if whole else [1, 2, 2.5, 5, 10])
    slack = 1e-9 * max(abs(low), abs(high), 1.0)
    values = [float(np.round(tick, 10)) for tick in steps.tick_values(low, high)]
    return [tick + 0.0 for tick in values if low - slack <= tick <= high + slack]


def _spread_labels(heights: Sequence[float]) -> list[float]:
    """Return heights at least `LABEL_SPACING` apart, in the same order, inside the chart."""
    order = np.argsort(heights, kind="stable")
    placed = list(heights)
    last = -np.inf
    for i in order:
        last = placed[i] = max(placed[i], last + LABEL_SPACING)
    above = max(last - (BOTTOM + 6), 0)
    limit = np.inf
    for i in reversed(order):
        if above:
            placed[i] = min(placed[i], limit, BOTTOM + 6)
            limit = placed[i] - LABEL_SPACING
    return [float(round(height, 1)) for height in placed]


def _table_rows(lines: Sequence[DataLine]) -> list[tuple[str, list[str]]]:
    rows = {float(x): [""] * len(lines) for x in sorted({x for line in lines for x in line.x})}
    for column, line in enumerate(lines):
        for i, (x, y) in enumerate(zip(line.x, line.y, strict=True)):
            if np.isfinite(y):
                ends = f" [{line.low[i]:.3g}, {line.high[i]:.3g}]" if len(line.low) else ""
                above = f", ceiling {line.ceiling[i]:.3g}" if len(line.ceiling) else ""
                texts = [text for text in (ends, above) if "nan" not in text]
                rows[x][column] = f"{y:.3g}{''.join(texts)}"
    return [(f"{x:.3g}", cells) for x, cells in rows.items()]
