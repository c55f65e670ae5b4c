"""Error bars of the estimates in a table."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def error_bars(table: pd.DataFrame, name: str) -> NDArray[np.float64]:
    """Return the distances of estimates from their lower and upper ends, (2, rows).

    Args:
        table: with columns name, name_low and name_high, see `Interval.as_columns`.
        name: of the estimate.
    """
    ends = table[[f"{name}_low", f"{name}_high"]].to_numpy()
    return np.asarray(np.abs(ends - table[[name]].to_numpy()).T)
