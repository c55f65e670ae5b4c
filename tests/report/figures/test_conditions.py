import pandas as pd
import pytest

from deepsal.report.figures.conditions import draw_conditions


def table(measures: list[str]) -> pd.DataFrame:
    rows = [
        {"measure": measure, "condition": name, "mean": mean, "low": mean - 0.1, "high": mean + 0.1}
        for measure in measures
        for name, mean in (("kl", 0.5), ("cc", 0.8))
    ]
    return pd.DataFrame(rows)


def test_a_panel_per_score_and_one_of_fields() -> None:
    figure = draw_conditions(
        table(["nss", "kl", "correlation/conv4", "correlation/conv5", "reliability/conv4"]),
        ["cc", "kl"],
        ["nss", "kl"],
    )
    assert [axis.get_title() for axis in figure.axes[:2]] == ["NSS ↑", "KL ↓"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["cc", "kl"]
    assert figure.axes[0].lines[0].get_xdata().tolist() == [0.8, 0.5]  # type: ignore[union-attr]
    assert [text.get_text() for text in figure.axes[2].texts] == ["0.80", "0.50"] * 2


def test_without_fields_only_scores_are_drawn() -> None:
    assert len(draw_conditions(table(["nss"]), ["kl"], ["nss"]).axes) == 1


def test_fields_that_are_not_reliable_have_no_value() -> None:
    measured = table(["nss", "correlation/conv4", "reliability/conv4"])
    weak = (measured["measure"] == "reliability/conv4") & (measured["condition"] == "kl")
    measured.loc[weak, "mean"] = 0.2
    figure = draw_conditions(measured, ["cc", "kl"], ["nss"])
    assert [text.get_text() for text in figure.axes[1].texts] == ["0.80", "–"]


def test_differences_to_a_reference_are_drawn_in_their_own_intervals() -> None:
    measured = table(["nss"]).assign(difference=0.03, difference_low=-0.02, difference_high=0.04)
    (axis,) = draw_conditions(measured, ["cc"], ["nss"], reference="kl").axes
    assert axis.get_title() == "NSS ↑, minus that of the kl"
    assert axis.lines[0].get_xdata().tolist() == [0.03]  # type: ignore[union-attr]
    ends = axis.collections[0].get_segments()[0][:, 0]  # type: ignore[attr-defined]
    assert ends.tolist() == pytest.approx([-0.02, 0.04])
