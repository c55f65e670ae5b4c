import numpy as np
import pytest

from deepsal.report.page.chart import BOTTOM, LABEL_SPACING, LEFT, RIGHT, TOP, DataLine, line_chart


def test_points_lie_in_the_frame_and_where_their_ticks_say() -> None:
    chart = line_chart("csi", "epoch", [DataLine("conv1", [0, 5, 10], [0.2, 0.4, 0.3])])
    assert chart is not None
    for x, y in chart.lines[0].points:
        assert LEFT <= x <= RIGHT
        assert TOP <= y <= BOTTOM
    ticks = {tick.label: tick.position for tick in chart.y_ticks}
    assert ticks["0.4"] == pytest.approx(chart.lines[0].points[1][1], abs=0.1)
    start, step = chart.scale
    assert start + 5 * step == pytest.approx(chart.lines[0].points[1][0], abs=0.1)


def test_values_that_are_missing_have_no_point() -> None:
    nan = float("nan")
    chart = line_chart(
        "k", "epoch", [DataLine("a", [0, 1, 2], [1.0, nan, 2.0], [0.5, nan, nan], [1.5, nan, 3])]
    )
    assert chart is not None
    assert len(chart.lines[0].points) == 2
    assert len(chart.lines[0].intervals) == 1, "an interval needs both ends"
    assert chart.rows == [("0", ["1 [0.5, 1.5]"]), ("1", [""]), ("2", ["2"])]
    assert line_chart("k", "epoch", [DataLine("a", [0], [nan])]) is None
    assert line_chart("k", "epoch", []) is None


def test_names_at_the_ends_do_not_cover_each_other() -> None:
    lines = [DataLine(f"conv{i}", [0, 1], [0.0, 1.0 - i / 1000]) for i in range(5)]
    chart = line_chart("csi", "epoch", [*lines, DataLine("low", [0, 1], [0, 0])])
    assert chart is not None
    heights = np.sort([line.label[1] for line in chart.lines])
    assert (np.diff(heights) >= LABEL_SPACING - 0.01).all()
    assert heights[-1] <= BOTTOM + 6


def test_a_single_checkpoint_is_drawn() -> None:
    chart = line_chart("csi", "epoch", [DataLine("conv1", [0], [0.3])])
    assert chart is not None
    assert len(chart.lines[0].points) == 1


def test_a_ceiling_is_a_line_on_the_same_axis() -> None:
    line = DataLine("conv1", [0, 1], [0.5, 0.4], ceiling=[0.9, float("nan")])
    chart = line_chart("correlation", "epoch", [line])
    assert chart is not None
    ((x, y),) = chart.lines[0].ceiling
    assert x == chart.lines[0].points[0][0]
    assert TOP <= y < chart.lines[0].points[0][1]
    assert chart.rows == [("0", ["0.5, ceiling 0.9"]), ("1", ["0.4"])]
