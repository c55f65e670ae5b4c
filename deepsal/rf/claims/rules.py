"""What the back-projected patterns of a chain say: claims P4 and P5 (arXiv 1801.04261)."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from deepsal.rf.claims.measurements import Portrait
from deepsal.rf.rule import MOST, Row, Values, beside, over

SAME = 1e-3
"""Relative change of a width below which it is the same."""
Portraits = Sequence[Portrait]
Each = Callable[[Portrait, Sequence[int]], Values]


def spread(befores: Portraits, afters: Portraits, stage: str) -> Iterator[Row]:
    """Yield P4: by how much a larger value at the centre widens a unit's pattern."""
    now, then = (over([p.spread for p in group]) for group in (afters, befores))  # type: ignore[misc]
    wider, same = now.low > 1 + SAME, now.high <= 1 + SAME
    outcome = "supported" if wider else "not supported" if same else "undecided"
    yield Row("P4", stage, "spread", now, "before", then.estimate, outcome=outcome)


def excites(befores: Portraits, afters: Portraits, stage: str) -> Iterator[Row]:
    """Yield P5: whether a unit's pattern excites that unit, and inhibits the others.

    The portraits are of networks that have patterns (`Portrait.reinjected`).
    """
    for name, each, statistic in (("own unit", _most, np.mean), ("inhibited", _below, np.median)):
        now, then = (_all(each, group, stage) for group in (afters, befores))
        effect = over(now, statistic)
        outcome = beside(effect, MOST, 1)
        difference = over([a - b for a, b in zip(now, then, strict=True)], statistic)
        if outcome == "supported" and not difference.low > 0:
            outcome = "undecided"
        yield Row(
            "P5", stage, name, effect, "before", over(then, statistic).estimate, outcome=outcome
        )
    for control in ("blank", "noise", "scrambled", "others"):
        now, then = (_all(_over(control), group, stage) for group in (afters, befores))
        yield Row(
            "P5", stage, f"over {control}", over(now, np.mean), "before", float(np.mean(then))
        )


def _all(each: Each, portraits: Portraits, stage: str) -> list[Values]:
    return [each(portrait, portrait.units[stage]) for portrait in portraits]


def _most(portrait: Portrait, units: Sequence[int]) -> Values:
    """Tell which units answer to their own pattern more than all others do: 1 or 0, (U,)."""
    assert portrait.reinjected is not None
    return np.asarray(portrait.reinjected.argmax(1) == np.array(units), dtype=np.float64)


def _below(portrait: Portrait, units: Sequence[int]) -> Values:
    """Return which share of the other units answers less to each pattern than to a blank, (U,)."""
    assert portrait.reinjected is not None
    assert portrait.control is not None
    less = portrait.reinjected < portrait.control["blank"]
    own = less[np.arange(len(units)), units]
    return np.asarray((less.sum(1) - own) / (less.shape[1] - 1), dtype=np.float64)


def _over(control: str) -> Each:
    """Tell which units answer more to their own pattern than to a control: 1 or 0, (U,)."""

    def each(portrait: Portrait, units: Sequence[int]) -> Values:
        assert portrait.reinjected is not None
        assert portrait.control is not None
        to_pattern = portrait.reinjected[:, units]
        own = np.diag(to_pattern)
        if control == "others":
            other = np.where(np.eye(len(units), dtype=bool), np.nan, to_pattern)
            against = np.nanmedian(other, axis=0) if len(units) > 1 else np.full(1, np.nan)
        else:
            against = np.diag(portrait.control[control][:, units])
        return np.where(np.isfinite(against), own > against, np.nan).astype(np.float64)

    return each
