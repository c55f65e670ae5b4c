import json
from collections.abc import Mapping
from copy import deepcopy
from io import StringIO
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import nn

from deepsal.models import Backbone
from deepsal.rf import store
from deepsal.rf.claims.rules import ClaimRow
from deepsal.runs import claims
from deepsal.runs.claims import ClaimEvaluation
from deepsal.statistics import Interval
from tests.conftest import backbone, datamodule


def judged(folder: Path, before: Backbone, after: Backbone) -> list[ClaimRow]:
    made = ClaimEvaluation(folder, stages=["conv1", "conv3"], units=3, images=4, window=15)
    return made(before, [after], datamodule().images["val"])


def moved(network: Backbone) -> Backbone:
    other = deepcopy(network)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(torch.randn_like(parameter))
    return other


def test_the_verdict_is_written_with_what_it_was_made_of(tmp_path: Path) -> None:
    before = backbone().eval()
    after = moved(before)
    rows = judged(tmp_path, before, after)
    written = json.loads((tmp_path / "verdict.json").read_text())
    assert (
        written["weights"]["after"]
        == [store.weights_fingerprint(after)]
        != [store.weights_fingerprint(before)]
    )
    assert written["units"] == 3
    assert "not reliable from conv3 on" in written["note"]
    assert len(written["rows"]) == len(rows)
    assert {row["claim"] for row in written["rows"]} == {"P1", "P2", "P3"}
    assert not list(tmp_path.glob("*.partial"))
    untrained = [r for r in rows if r.measure == "cosine"]
    assert all(r.outcome == "undecided" for r in untrained)  # three units give no interval
    assert {r.reference for r in untrained} == {"untrained"}


def test_of_a_network_that_did_not_learn_no_change_is_judged(tmp_path: Path) -> None:
    network = backbone().eval()
    assert {row.claim for row in judged(tmp_path, network, deepcopy(network))} == {"P3"}


def test_only_a_plain_chain_has_patterns(tmp_path: Path) -> None:
    plain = [nn.Sequential(nn.Conv2d(3, 3, 3, 2, padding=1), nn.ReLU()) for _ in range(5)]
    network = Backbone(plain, name="plain").eval()
    claims = {row.claim for row in judged(tmp_path, network, moved(network))}
    assert claims == {"P1", "P2", "P3", "P4", "P5"}


def test_weights_for_another_task_are_one_more_control(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def decide(before: object, after: object, found: Mapping[str, object]) -> list[ClaimRow]:
        seen.extend(found)
        return []

    monkeypatch.setattr(claims, "decide_claims", decide)
    before, other = backbone().eval(), moved(backbone())
    made = ClaimEvaluation(
        tmp_path, stages=["conv1"], units=3, window=15, seeds=[0], other_task=other
    )
    made(before, [moved(before)], datamodule().images["val"])
    assert seen == ["untrained/0", "shuffled/0", "flat_kernels", "other_task"]
    written = json.loads((tmp_path / "verdict.json").read_text())
    assert written["other_task"] == store.weights_fingerprint(other)


def test_the_table_fits_80_columns() -> None:
    page = StringIO()
    effect = Interval(-0.123, -0.456, -0.111, 96)
    row = ClaimRow(
        "P3", "conv5", "centre-surround", effect, "untrained", -0.001, 0.5, "not supported"
    )
    claims.print_verdict([row, row._replace(outcome="undecided")], Console(file=page, width=80))
    text = page.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    for word in ("P3", "-0.12 [-0.46, -0.11]", "96", "-0.00 untrained", "not supported"):
        assert word in text
    assert "…" not in text
    assert "P2 and P3 are withdrawn" in " ".join(text.split())
    assert "P3: Their units are all variations of centre-surround." in text


def test_units_that_a_stage_has_not_are_named(tmp_path: Path) -> None:
    network = backbone()
    with pytest.raises(ValueError, match=r"claims.units=\[0, 99\]: conv1 has units 0 … 3"):
        ClaimEvaluation(tmp_path, units=[0, 99])(network, [network], datamodule().images["val"])
