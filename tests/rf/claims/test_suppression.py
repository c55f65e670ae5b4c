import numpy as np
import pytest

from deepsal.rf.claims.measurements import NetworkMeasurements
from deepsal.rf.claims.suppression import SUPPRESSION_MEASURES, suppression_rows
from deepsal.rf.claims.verdict import decide_claims
from tests.rf.claims.support import network, noisy_blocks, planted

UNITS = 12


def measured(ssi: float) -> NetworkMeasurements:
    """A network whose units have suppression about a value; one unit does not respond."""
    values = ssi + np.linspace(-0.02, 0.02, UNITS)
    values[0] = np.nan
    suppressed = np.where(np.isfinite(values), values >= 0.1, np.nan)
    tuning = {"ssi": values, "suppressed": suppressed, "disk_ssi": np.full(UNITS, 0.9)}
    blocks = {"conv5": noisy_blocks(planted(["gaussian"] * UNITS, 0), 1)}
    return network(blocks, tuning={"conv5": tuning})


def test_suppression_by_gratings_is_compared_with_before_and_each_control() -> None:
    before, after, control = measured(0.05), measured(0.4), measured(0.3)
    rows = [*suppression_rows([before], [after], {"untrained": [control]}, "conv5")]
    of = {(row.measure, row.reference): row for row in rows}
    assert len(rows) == len(SUPPRESSION_MEASURES) * 3
    assert of["SSI by gratings", ""].effect.estimate == pytest.approx(0.4, abs=0.01)
    assert of["SSI by gratings", ""].effect.count == UNITS - 1
    for name, start in (("before", 0.05), ("untrained", 0.3)):
        row = of["SSI by gratings, difference", name]
        assert row.effect.estimate == pytest.approx(0.4 - start)
        assert row.effect.low > 0
        assert row.reference_estimate == pytest.approx(start, abs=0.01)
    share = of["share of SSI ≥ .1 by gratings, difference", "before"]
    assert (share.effect.estimate, share.reference_estimate) == (1, 0)
    assert of["SSI by disks, difference", "before"].effect.estimate == 0
    assert {row.outcome for row in rows} == {""}


def test_the_verdict_has_these_rows_where_size_tuning_was_measured() -> None:
    with_tuning = decide_claims(measured(0.05), measured(0.4), {})
    measures = [row.measure for row in with_tuning]
    assert measures.count("SSI by gratings") == 1, "it has no background"
    blocks = {"conv5": noisy_blocks(planted(["gaussian"] * UNITS, 0), 1)}
    without = decide_claims(network(blocks), network(blocks), {})
    assert not [row for row in without if "SSI" in row.measure]
