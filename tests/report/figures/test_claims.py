from typing import Any

import numpy as np
from matplotlib.figure import Figure

from deepsal.report.figures.claims import CONTROL_STYLES, TUNED_COLOUR, draw_claims, verdict_frame
from deepsal.vocabulary import STAGES


def effect(value: float | None) -> dict[str, Any]:
    ends = {"low": None, "high": None} if value is None else {"low": value - 0.1, "high": value}
    return {"estimate": value, "count": 9, **ends}


def verdict(controls: list[str], missing: str = "") -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    for background in ("natural", "grey"):
        for number, stage in enumerate(STAGES):
            at = {"claim": "P1" if number < 3 else "P2", "stage": stage, "background": background}
            similarity = None if stage == missing else 0.9 - 0.1 * number
            rows.append({**at, "measure": "similarity", "effect": effect(similarity)})
            for name in controls:
                change = {**at, "measure": "more change than", "reference": name}
                rows.append({**change, "effect": effect(0.1), "reference_estimate": 0.8})
        at = {"claim": "P3", "stage": "conv5", "background": background}
        rows.append({**at, "measure": "found", "effect": effect(0.3)})
        for name in ("before", *controls):
            row: dict[str, Any] = {**at, "measure": "more than", "reference": name}
            rows.append({**row, "effect": effect(0.0), "reference_estimate": 0.25})
    rule = {"power": {"0.55": 0.6}}
    network: dict[str, Any] = {"network": "tuned, seed 0", "stage": "conv5", "background": "grey"}
    network["rule"] = rule
    return {"rows": rows, "networks": [network, {**network, "rule": None}]}


def marks(figure: Figure, panel: int, colour: str) -> list[Any]:
    lines = [line for line in figure.axes[panel].lines if line.get_color() == colour]
    return [np.asarray(line.get_ydata()) for line in lines if line.get_marker() in ("o", "D")]


def test_tuned_networks_and_each_control_have_their_marks() -> None:
    figure = draw_claims(verdict(["bn_only", "untrained"]))
    for panel in (0, 1):
        assert np.allclose(marks(figure, panel, TUNED_COLOUR), [[0.9, 0.8, 0.7, 0.6, 0.5]])
        assert np.allclose(marks(figure, panel, CONTROL_STYLES["untrained"][1]), [[0.8] * 5])
        assert not marks(figure, panel, CONTROL_STYLES["displaced"][1])
    assert np.allclose(marks(figure, 2, TUNED_COLOUR), [[0.3], [0.3]])
    bars: list[Any] = [*figure.axes[2].patches]
    assert [bar.get_height() for bar in bars] == [0.6], "power, where there is a rule"
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == [*dict.fromkeys(labels)]
    assert CONTROL_STYLES["bn_only"][0] in labels


def test_no_mark_hides_that_of_the_tuned_network_and_the_legend_fits() -> None:
    content = verdict(["displaced", "shuffled_fixations", "other_task"])
    content["rows"] = [row for row in content["rows"] if row["background"] == "natural"]
    figure = draw_claims(content)
    figure.draw_without_rendering()
    stages = figure.axes[0]
    marked = [line for line in stages.lines if line.get_marker() == "D"]
    x = {float(np.asarray(line.get_xdata())[0]) for line in marked}
    assert len(x) == 3
    assert 0 not in x
    legend = figure.legends[0].get_window_extent()
    assert legend.x0 >= 0
    assert legend.x1 <= figure.bbox.width


def test_a_stage_that_is_not_determined_leaves_a_gap() -> None:
    tuned = marks(draw_claims(verdict([], missing="conv4")), 0, TUNED_COLOUR)
    assert np.isnan(tuned[0][3])
    assert np.isfinite(tuned[0][[0, 1, 2, 4]]).all()


def test_patterns_alone_are_a_panel_for_each_measure() -> None:
    rows: list[dict[str, Any]] = []
    for stage in ("conv5", "conv1"):
        at = {"stage": stage, "background": "", "reference": "before", "reference_estimate": 0.6}
        for measure in ("own unit", "inhibited"):
            row: dict[str, Any] = {**at, "claim": "P5", "measure": measure}
            rows.append({**row, "effect": effect(0.7 if stage == "conv5" else 0.9)})
            for name in ("before", "untrained") if stage == "conv5" else ():
                row |= {"measure": f"more {measure} than", "reference": name}
                rows.append({**row, "effect": effect(0.1)})
    rows.append({**rows[0], "claim": "P4", "measure": "spread", "effect": effect(1.0)})
    figure = draw_claims({"rows": rows, "networks": []})
    assert [axes.get_title()[:9] for axes in figure.axes] == ["P4: width", "P5: share", "P5: share"]
    assert np.allclose(marks(figure, 0, TUNED_COLOUR), [[1.0]])
    assert np.allclose(marks(figure, 1, TUNED_COLOUR), [[0.9, 0.7]])
    assert np.allclose(marks(figure, 2, CONTROL_STYLES["untrained"][1]), [[0.6]])


def test_a_verdict_becomes_one_row_per_number() -> None:
    row: dict[str, Any] = {"claim": "P3", "stage": "conv5", "measure": "csi", "p": None}
    table = verdict_frame([{**row, "effect": effect(0.2), "reference_estimate": 0.25}])
    assert table[["estimate", "low", "high", "count"]].to_numpy().tolist() == [[0.2, 0.1, 0.2, 9]]
    assert table["p"].isna().all()
