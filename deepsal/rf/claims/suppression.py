"""Second line of evidence about surrounds (P3): suppression by gratings, and by disks.

A surround that is driven by contrast shows in no linear field, and a filter that is blind to
uniform light is suppressed by disks without any surround. So each row names what drives the units.

Letters in shapes: S seeds, U units.
"""

from collections.abc import Iterator

import numpy as np

from deepsal.rf.claims.rules import ClaimRow, Controls, Networks
from deepsal.rf.measures.profile import FloatArray
from deepsal.statistics import crossed_bootstrap

SUPPRESSION_MEASURES = {
    "ssi": "SSI by gratings",
    "suppressed": "share of SSI ≥ .1 by gratings",
    "disk_ssi": "SSI by disks",
}
"""Labels of the indices of `responsive_suppression`: medians over units, and a share."""


def suppression_rows(
    before: Networks, after: Networks, controls: Controls, stage: str
) -> Iterator[ClaimRow]:
    """Yield the suppression of a stage's units after training, and its differences to others.

    Each row has the crossed bootstrap's interval over units and seeds. Differences are paired by
    unit and seed: to the networks before training and to each control. The rows inform and decide
    nothing. None without measured size tuning.
    """
    if not all(stage in network.tuning for network in (*before, *after)):
        return
    for index, label in SUPPRESSION_MEASURES.items():
        statistic = np.nanmean if index == "suppressed" else None
        end = _index_of(after, stage, index)
        yield ClaimRow("P3", stage, label, crossed_bootstrap(end, statistic).interval)
        for name, group in {"before": before, **controls}.items():
            reference = _index_of(group, stage, index)
            point = crossed_bootstrap(reference, statistic).interval.estimate
            yield ClaimRow(
                "P3",
                stage,
                f"{label}, difference",
                crossed_bootstrap(end - reference, statistic).interval,
                name,
                point,
            )


def _index_of(group: Networks, stage: str, index: str) -> FloatArray:
    """Return an index of each unit of each network, (S, U)."""
    missing = np.full(len(group[0].units[stage]), np.nan)
    return np.array([network.tuning.get(stage, {}).get(index, missing) for network in group])
