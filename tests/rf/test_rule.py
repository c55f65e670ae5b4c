import numpy as np
import pytest

from deepsal.rf.rule import beside, over
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
def test_an_interval_lies_on_a_side_of_a_bar_or_across_it(
    low: float, high: float, sign: int, outcome: str
) -> None:
    assert beside(Interval(0.5, low, high, 20), 0.5, sign) == outcome


def test_seeds_widen_the_interval() -> None:
    random = np.random.default_rng(0)
    runs = [random.normal(shift, 0.1, 20) for shift in (0, 1, 2)]
    one, all_of_them = over([np.concatenate(runs)]), over(runs)
    assert one.estimate == all_of_them.estimate
    assert all_of_them.high - all_of_them.low > one.high - one.low
