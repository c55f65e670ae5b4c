import numpy as np
import pytest

from deepsal.rf.claims.rules import threshold_outcome
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
