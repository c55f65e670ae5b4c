"""The claims of "Deep saliency: what is learnt by a deep network about saliency?", decided."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepsal.rf.compare import cka, cosine
from deepsal.rf.inference import Interval, holm, interval, wilcoxon
from deepsal.rf.kernels import displacement
from deepsal.rf.portrait import Portrait

ALIKE, UNLIKE = 0.9, 0.5
"""Median cosine of two fields at and above which they hardly, at and below which they
fundamentally changed."""
MOST = 0.5
"""Share of units that a claim about "all" must at least hold for."""
SAME = 1e-3
"""Relative change of a width below which it is the same."""
SHALLOW, DEEP = 3, 2
"""How many of the first stages P1 speaks of, and of the last P2 and P3."""
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


def verdict(
    before: Portrait | Sequence[Portrait],
    after: Portrait | Sequence[Portrait],
    nulls: Mapping[str, Portrait],
) -> list[Row]:
    """Decide the claims of He & Pugeault 2018 (arXiv 1801.04261) by stated rules.

    Effects are medians (or shares) over units with 95 % bootstrap intervals, over seeds too where
    several runs are given; the paired differences below are taken unit by unit.

    - P1, the first three layers hardly change: cosine of a unit's field before and after.
      Supported if the interval lies at 0.9 and above, not supported if below.
    - P2, the last two change fundamentally: the same. Supported if the interval lies at 0.5 and
      below, not supported if above. Null: two networks that learnt nothing.
    - P3, their units are all variations of centre-surround: the share of units that
      `fit.centre_surround` calls so. Supported if its interval lies at 0.5 and above and the
      share is higher than before and than in every null (interval of each difference above 0);
      not supported if it lies below 0.5, or the share is no higher than in one of them (interval
      of a difference at 0 and below). CSI, SSI and k, which inform, come with the p of Wilcoxon's
      signed-rank test against before (unit by unit, means over seeds), by Holm's method over all.
    - P4, a larger clamp value spreads the pattern: the width of a unit's pattern at c = 3 over
      that at c = 0.5. Supported if the interval lies above 1, not supported if at 1.
    - P5, a unit's pattern excites that unit most: the share of units that answer more to their
      own pattern than all others do. Supported if the interval lies at 0.5 and above, and above
      the share before; not supported if it lies below 0.5.

    Anything else, and whatever lacks data for an interval, is undecided. P4 and P5 are left out
    where a portrait has no pattern (the network is no chain).

    Args:
        before: portraits of the networks before training, one per seed, or one for all.
        after: portraits after training, of the same units on the same images.
        nulls: portraits of `nulls.every`, the same units on the same images.

    Raises:
        ValueError: portraits of other units, or as many before as after.
    """
    afters = [after] if isinstance(after, Portrait) else [*after]
    befores = [before] if isinstance(before, Portrait) else [*before]
    befores = befores * len(afters) if len(befores) == 1 else befores
    _validate(befores, afters, nulls)
    stages = [*afters[0].units]
    rows = [
        *_changes(befores, afters, nulls, "P1", stages[:SHALLOW]),
        *_changes(befores, afters, nulls, "P2", stages[-DEEP:]),
        *_shapes(befores, afters, nulls, stages[-DEEP:]),
    ]
    if all(p.pattern is not None for p in [*befores, *afters]):
        rows += [_spread(afters, stages[-1]), _own(befores, afters, stages[-1])]
    adjusted = iter(holm(np.array([row.p for row in rows])).tolist())
    return [row._replace(p=next(adjusted)) for row in rows]


def over(
    runs: Sequence[Values], statistic: Callable[..., Any] = np.median, seed: int = 0
) -> Interval:
    """Return a statistic over units, and over seeds where there are several runs."""
    groups = np.repeat(np.arange(len(runs)), [len(run) for run in runs])
    values = np.concatenate([*runs])
    return interval(values, groups if len(runs) > 1 else None, statistic, seed)


def _changes(
    befores: Sequence[Portrait],
    afters: Sequence[Portrait],
    nulls: Mapping[str, Portrait],
    claim: str,
    stages: Sequence[str],
) -> Iterator[Row]:
    random = [name for name in nulls if name.startswith("untrained/")][:2]
    pairs = [*zip(befores, afters, strict=True)]
    for stage in stages:
        effect = over([cosine(b.field[stage], a.field[stage]) for b, a in pairs])
        null = ("", float("nan"))
        if len(random) == 2:
            alike = cosine(*(nulls[name].field[stage] for name in random))
            null = ("untrained", float(np.nanmedian(alike)))
        bar, wanted = (ALIKE, 1) if claim == "P1" else (UNLIKE, -1)
        yield Row(claim, stage, "cosine", effect, *null, outcome=_beside(effect, bar, wanted))
        similar = [cka(b.activation[stage], a.activation[stage]) for b, a in pairs]
        moved = [displacement(b.weights, a.weights, [stage])[stage] for b, a in pairs]
        yield Row(claim, stage, "cka", _plain(similar))
        yield Row(claim, stage, "displacement", _plain(moved))


def _shapes(
    befores: Sequence[Portrait],
    afters: Sequence[Portrait],
    nulls: Mapping[str, Portrait],
    stages: Sequence[str],
) -> Iterator[Row]:
    for stage in stages:
        now = [after.measures[stage]["centre_surround"] for after in afters]
        share = over(now, np.mean)
        others = {"before": befores} | {name: [null] * len(now) for name, null in nulls.items()}
        shares, differences = {}, {}
        for name, portraits in others.items():
            then = [portrait.measures[stage]["centre_surround"] for portrait in portraits]
            shares[name] = float(np.nanmean(np.concatenate(then)))
            differences[name] = over([a - b for a, b in zip(now, then, strict=True)], np.mean)
        highest = max(shares, key=lambda name: np.nan_to_num(shares[name], nan=-1.0))
        lows, highs = ([d[i] for d in differences.values()] for i in (1, 2))
        outcome = _beside(share, MOST, 1)
        if outcome == "supported" and not all(low > 0 for low in lows):
            outcome = "not supported" if any(high <= 0 for high in highs) else "undecided"
        yield Row("P3", stage, "centre-surround", share, highest, shares[highest], outcome=outcome)
        for measure in ("csi", "ssi", "k"):
            values, start = (
                [portrait.measures[stage][measure] for portrait in portraits]
                for portraits in (afters, befores)
            )
            p = wilcoxon(np.mean(start, 0), np.mean(values, 0))
            yield Row("P3", stage, measure, over(values), "before", over(start).estimate, p)


def _spread(afters: Sequence[Portrait], stage: str) -> Row:
    effect = over([after.spread for after in afters])  # type: ignore[misc]
    wider, same = effect.low > 1 + SAME, effect.high <= 1 + SAME
    outcome = "supported" if wider else "not supported" if same else "undecided"
    return Row("P4", stage, "spread", effect, "none", 1.0, outcome=outcome)


def _own(befores: Sequence[Portrait], afters: Sequence[Portrait], stage: str) -> Row:
    now, then = (
        [_strongest(portrait, stage) for portrait in portraits] for portraits in (afters, befores)
    )
    effect = over(now, np.mean)
    outcome = _beside(effect, MOST, 1)
    difference = over([a - b for a, b in zip(now, then, strict=True)], np.mean)
    if outcome == "supported" and not difference.low > 0:
        outcome = "undecided"
    before = float(np.mean(np.concatenate(then)))
    return Row("P5", stage, "own unit", effect, "before", before, outcome=outcome)


def _strongest(portrait: Portrait, stage: str) -> Values:
    """Tell which units answer to their own pattern more than all others do: 1 or 0, (U,)."""
    assert portrait.reinjected is not None
    own = portrait.reinjected.argmax(1) == np.array(portrait.units[stage])
    return np.asarray(own, dtype=np.float64)


def _beside(effect: Interval, bar: float, sign: int) -> str:
    """Say on which side of a bar an interval lies; `sign` −1 wants it below."""
    ends = sorted((sign * effect.low, sign * effect.high))
    if not np.isfinite(ends).all():
        return "undecided"
    if ends[0] >= sign * bar:
        return "supported"
    return "not supported" if ends[1] < sign * bar else "undecided"


def _plain(values: Sequence[float]) -> Interval:
    """Return the median of one value per seed; there are too few for an interval."""
    return interval(np.array(values))


def _validate(
    befores: Sequence[Portrait], afters: Sequence[Portrait], nulls: Mapping[str, Portrait]
) -> None:
    if not afters or len(befores) != len(afters):
        raise ValueError(
            f"{len(befores)} portraits before and {len(afters)} after; give one each per seed"
        )
    for name, portrait in [*enumerate([*befores, *afters]), *nulls.items()]:
        if portrait.units != afters[0].units:
            raise ValueError(
                f"portrait {name!r} has other layers or units than the first one after: take all "
                "portraits of the same units"
            )
