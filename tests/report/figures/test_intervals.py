import numpy as np
import pandas as pd

from deepsal.report.figures.intervals import error_bars
from deepsal.statistics import Interval


def test_error_bars_reach_from_the_estimates_to_their_ends() -> None:
    intervals = [Interval(1.0, 0.5, 3.0, 9), Interval(-1.0, np.nan, np.nan, 2)]
    table = pd.DataFrame([interval.as_columns("difference") for interval in intervals])
    bars = error_bars(table, "difference")
    assert bars[:, 0].tolist() == [0.5, 2.0]
    assert np.isnan(bars[:, 1]).all()
