import pytest

from deepsal.report.score_text import direction_arrow, format_score


def test_less_is_better_for_kl_and_emd_only() -> None:
    assert [direction_arrow(score) for score in ("nss", "kl", "emd", "ig")] == ["↑", "↓", "↓", "↑"]


@pytest.mark.parametrize(
    ("mean", "half", "full", "compact"),
    [
        (2.0, 0.5, "2.000 ± 0.500", "2.00±.50"),
        (-0.0311, 0.05, "-0.031 ± 0.050", "-.031±.05"),
        (0.9, float("nan"), "0.900", ".900"),
        (0.99951, 1.0, "1.000 ± 1.000", "1.00±1.00"),
    ],
)
def test_a_mean_has_half_its_interval(mean: float, half: float, full: str, compact: str) -> None:
    score = {"mean": mean, "low": mean - half, "high": mean + half}
    assert format_score(score) == full
    assert format_score(score, compact=True) == compact
