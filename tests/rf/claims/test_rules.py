import numpy as np
import pytest

from deepsal.rf.claims.rules import share_interval, threshold_outcome
from deepsal.statistics import Interval


@pytest.mark.parametrize(
    ("low", "high", "sign", "outcome"),
    [
        (0.6, 0.9, 1, "supported"),
        (0.5, 0.9, 1, "supported"),
        (0.4, 0.9, 1, "undecided"),
        (0.1, 0.4, 1, "not supported"),
        (0.1, 0.4, -1, "supported"),
        (0.6, 0.9, -1, "not supported"),
        (np.nan, np.nan, 1, "undecided"),
    ],
)
def test_an_interval_lies_on_a_side_of_a_threshold_or_across_it(
    low: float, high: float, sign: int, outcome: str
) -> None:
    assert threshold_outcome(Interval(0.5, low, high, 20), 0.5, sign) == outcome


def test_a_share_of_none_has_an_exact_interval_and_seeds_never_narrow_it() -> None:
    none = np.zeros((1, 32))
    assert share_interval(none)[:4] == pytest.approx((0, 0, 0.109, 32), abs=1e-3)
    assert share_interval(np.zeros((3, 32))).high == pytest.approx(0.109, abs=1e-3)
    assert share_interval(np.full((2, 5), np.nan)).count == 0
