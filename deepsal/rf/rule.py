"""How a claim is decided: a number with its interval, held against a bar."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepsal.statistics import Interval, interval

MOST = 0.5
"""Share of units that a claim about "all" must at least hold for."""
Values = NDArray[np.float64]


class Row(NamedTuple):
    """One number with its interval, what it is judged against, and what follows.

    `null` names what `null_estimate` is of: "untrained" beside a cosine is that of two networks
    that learnt nothing. The last is "" where a row informs and decides nothing.
    """

    claim: str
    stage: str
    measure: str
    effect: Interval
    null: str = ""
    null_estimate: float = float("nan")
    p: float = float("nan")
    outcome: str = ""


def over(
    runs: Sequence[Values], statistic: Callable[..., Any] = np.median, seed: int = 0
) -> Interval:
    """Return a statistic over units, and over seeds where there are several runs."""
    groups = np.repeat(np.arange(len(runs)), [len(run) for run in runs])
    values = np.concatenate([*runs])
    return interval(values, groups if len(runs) > 1 else None, statistic, seed)


def beside(effect: Interval, bar: float, sign: int) -> str:
    """Say on which side of a bar an interval lies.

    Args:
        effect: the interval; without ends nothing is decided.
        bar: the value it is held against.
        sign: 1 supports what lies above, −1 what lies below.

    >>> beside(Interval(0.8, 0.6, 0.9, 20), bar=0.5, sign=1)
    'supported'
    """
    ends = sorted((sign * effect.low, sign * effect.high))
    if not np.isfinite(ends).all():
        return "undecided"
    if ends[0] >= sign * bar:
        return "supported"
    return "not supported" if ends[1] < sign * bar else "undecided"
