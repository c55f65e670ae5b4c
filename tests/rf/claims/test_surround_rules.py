import numpy as np
import pytest

from deepsal.rf.claims.surround_rules import corrected_share
from deepsal.statistics import Interval


def test_a_share_is_corrected_for_what_the_rule_misses() -> None:
    found = Interval(0.45, 0.3, 0.6, 40)
    corrected = corrected_share(found, 0.05, 0.8, 10**6)
    assert corrected.estimate == pytest.approx(0.4 / 0.75)
    assert corrected.low < 0.3
    assert corrected.high == pytest.approx(0.75, abs=1e-3)
    assert corrected_share(found, 0.05, 0.8, 100).high > 0.8, "the power is an estimate too"
    blind = corrected_share(found, 0.05, 0.08, 100)
    assert (blind.low, blind.high) == (0, 1)
    assert np.isnan(blind.estimate)
