from io import StringIO

import pytest
from rich.console import Console

from deepsal.rf.claims.rules import ClaimRow
from deepsal.rf.claims.verdict import describe_networks
from deepsal.runs.verdict_tables import print_verdict
from deepsal.statistics import Interval
from tests.rf.claims.support import network, noisy_blocks, planted, shared_rule


def test_the_tables_fit_80_columns() -> None:
    page = StringIO()
    effect = Interval(-0.123, -0.456, -0.111, 96)
    row = ClaimRow(
        *("P3", "conv5", "share", effect, "untrained", -0.001, 0.5, "not supported", "natural"),
        note="power 0.91 at k = .55",
    )
    excitation = ClaimRow(
        *("P5", "conv5", "own unit", effect, "before", 0.5),
        outcome="undecided",
        note="two seeds would decide",
    )
    tuned = network({"conv5": noisy_blocks(planted(["0.9"] * 9, 0), 0)}, rule=shared_rule())
    console = Console(file=page, width=80)
    print_verdict(
        [row, row._replace(outcome=""), excitation],
        describe_networks({"tuned": tuned}),
        console=console,
    )
    text = page.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    for word in ("P3", "-0.12 [-0.46, -0.11]", "96", "not supported", "k 0.55", "gabor"):
        assert word in text
    assert "…" not in text
    assert "P3 conv5 natural: power 0.91 at k = .55." in text
    assert "P5 conv5 own unit: two seeds would decide." in text
    assert "P3: Their units are all variations of centre-surround." in text


@pytest.mark.parametrize("claim", ["P4", "P5"])
def test_without_fields_nothing_is_said_about_noise(claim: str) -> None:
    page = StringIO()
    row = ClaimRow(claim, "conv5", "own unit", Interval(0.5, 0.4, 0.6, 9), outcome="undecided")
    print_verdict([row], [], console=Console(file=page, width=80))
    text = page.getvalue()
    assert f"{claim} conv5 own unit" in " ".join(text.split())
    for word in ("noise", "reliability", "CKA"):
        assert word not in text
