"""Verdict on the claims of "Deep saliency: what is learnt by a deep network about saliency?"."""

from collections.abc import Mapping, Sequence

import numpy as np

from deepsal.rf.claims import rules
from deepsal.rf.claims.measurements import NetworkMeasurements
from deepsal.rf.claims.rules import ClaimRow
from deepsal.statistics import holm_correction

SHALLOW_STAGES, DEEP_STAGES = 3, 2
"""Number of first stages that P1 is about, and of last stages that P2 and P3 are about."""
WITHDRAWAL_NOTE = (
    "Outcomes of P1 from conv3 on, P2 and P3 are withdrawn until they are measured again. They "
    "rest on mean gradients over a few patches, and such fields are not reliable from conv3 on: in "
    "EfficientNet-Lite0 the split-half reliability from 8 patches is .99, .75, .16, .01 and .00 "
    "(conv1 to conv5)."
)
"""Note that is printed and stored with every verdict."""


def decide_claims(
    before: NetworkMeasurements | Sequence[NetworkMeasurements],
    after: NetworkMeasurements | Sequence[NetworkMeasurements],
    controls: Mapping[str, NetworkMeasurements],
) -> list[ClaimRow]:
    """Decide the claims of He & Pugeault 2018 (arXiv 1801.04261) by stated rules.

    Effects are medians (or shares) over units with 95 % bootstrap intervals, over seeds too with
    several seeds. Differences below are paired, unit by unit.

    - P1, the first three stages hardly change: cosine of a unit's field before and after.
      Supported if the interval lies at 0.9 and above, not supported if it lies below.
    - P2, the last two stages change fundamentally: the same cosine. Supported if the interval lies
      at 0.5 and below, not supported if it lies above. Reference: two untrained networks.
    - P3, the units of the last two stages are all variations of centre-surround: the share of
      units that are `is_centre_surround`. Supported if its interval lies at 0.5 and above and the
      share is higher than before and than in every control (interval of each difference above 0).
      Not supported if it lies below 0.5, or the share is no higher than in one of them (interval
      of a difference at 0 and below). CSI, SSI and k inform. Their p is that of Wilcoxon's
      signed-rank test against before (unit by unit, means over seeds), by Holm's method over all.
    - P4, a larger clamp value spreads the pattern: the width of a unit's pattern at c = 3 over
      that at c = 0.5. Supported if the interval lies above 1, not supported if it lies at 1 or
      below.
    - P5, a unit's pattern excites that unit and inhibits the others: the share of units that
      respond more to their own pattern than all others do; and of the other units, the share that
      responds less to it than to a blank image (median over patterns). Either is supported if the
      interval lies at 0.5 and above, and above that before; not supported if it lies below 0.5.
      The share of units that respond more to their own pattern than to a blank image, to noise, to
      the pattern with its phases scrambled, and to the other units' patterns (median) informs.

    All other cases, and those with too few data for an interval, are undecided. P4 and P5 are left
    out where a network has no patterns (it is no chain).

    Args:
        before: measurements of the networks before training, one per seed, or one for all seeds.
        after: measurements after training, of the same units on the same images.
        controls: measurements of `control_networks`, of the same units on the same images.

    Raises:
        ValueError: the units differ, or there are not as many networks before as after.
    """
    after = [after] if isinstance(after, NetworkMeasurements) else [*after]
    before = [before] if isinstance(before, NetworkMeasurements) else [*before]
    before = before * len(after) if len(before) == 1 else before
    _validate(before, after, controls)
    stages = [*after[0].units]
    rows = [
        *rules.decide_change(before, after, controls, "P1", stages[:SHALLOW_STAGES]),
        *rules.decide_change(before, after, controls, "P2", stages[-DEEP_STAGES:]),
        *rules.decide_centre_surround(before, after, controls, stages[-DEEP_STAGES:]),
    ]
    start, end = ([m.patterns for m in group if m.patterns] for group in (before, after))
    if len(start) == len(end) == len(after):
        rows += rules.decide_pattern_spread(start, end, stages[-1])
        rows += rules.decide_pattern_excitation(start, end, stages[-1])
    adjusted = holm_correction(np.array([row.p for row in rows])).tolist()
    return [row._replace(p=p) for row, p in zip(rows, adjusted, strict=True)]


def _validate(
    before: Sequence[NetworkMeasurements],
    after: Sequence[NetworkMeasurements],
    controls: Mapping[str, NetworkMeasurements],
) -> None:
    if not after or len(before) != len(after):
        raise ValueError(
            f"{len(before)} networks before and {len(after)} after training; give one each per seed"
        )
    for name, measured in [*enumerate([*before, *after]), *controls.items()]:
        if measured.units != after[0].units:
            raise ValueError(
                f"network {name!r} was measured on other layers or units than the first one after "
                "training: measure all networks on the same units"
            )
