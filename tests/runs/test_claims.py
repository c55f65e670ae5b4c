import json
from copy import deepcopy
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import nn

from deepsal.models import Backbone
from deepsal.report.page.run_page import write_run_page
from deepsal.rf import store
from deepsal.rf.claims.measurements import NetworkMeasurements, measure_network
from deepsal.runs import claims
from deepsal.runs.claims import ClaimEvaluation
from deepsal.runs.verdict_tables import print_verdict
from tests.conftest import backbone, datamodule


def evaluation(folder: Path, **options: Any) -> ClaimEvaluation:
    small: dict[str, Any] = {"stages": ["conv1", "conv4"], "units": 3, "images": 4, "window": 31}
    return ClaimEvaluation(folder, pairs=8, plantings=10, **(small | options))


def plain_chain() -> Backbone:
    strides = (2, 1, 1, 1, 1)
    stages = [nn.Sequential(nn.Conv2d(3, 3, 3, s, padding=1), nn.ReLU()) for s in strides]
    return Backbone(stages, name="plain").eval()


def moved(network: Backbone) -> Backbone:
    other = deepcopy(network)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(torch.randn_like(parameter))
        for name, buffer in other.named_buffers():
            if name.endswith("running_mean"):
                buffer.add_(0.1)
    return other


def test_the_verdict_is_written_with_what_it_was_made_of(tmp_path: Path) -> None:
    before = backbone().eval()
    after = moved(before)
    made = evaluation(tmp_path, built_in=["bn_only", "displaced"])
    rows = made(before, after, datamodule().images["val"])
    written = json.loads((tmp_path / "verdict.json").read_text())
    assert written["weights"] == {
        "before": store.weights_fingerprint(before),
        "after, seed 0": store.weights_fingerprint(after),
    }
    assert written["units"] == 3
    assert len(written["rows"]) == len(rows)
    assert {row["claim"] for row in written["rows"]} == {"P1", "P2", "P3"}
    assert {of["network"] for of in written["networks"]} == {
        *("before", "tuned", "bn_only", "displaced")
    }
    assert all(of["spread"] > 0 for of in written["networks"])
    assert not list(tmp_path.glob("*.partial"))
    assert {r.outcome for r in rows if r.measure == "similarity"} == {"undecided"}  # three units
    assert "claims/conv1/natural/similarity" in claims.logged_effects(rows)


def test_of_a_network_that_did_not_learn_no_change_is_judged(tmp_path: Path) -> None:
    before = backbone().eval()
    made = evaluation(tmp_path, built_in=["bn_only"])
    rows = made(before, deepcopy(before), datamodule().images["val"])
    changes = [row for row in rows if row.measure == "similarity"]
    assert changes
    assert all(row.outcome == "" and "changed nothing" in row.note for row in changes)


def test_only_a_plain_chain_has_patterns(tmp_path: Path) -> None:
    before = plain_chain()
    options: dict[str, Any] = {"built_in": [], "stages": ["conv1", "conv5"], "tuning": False}
    made = evaluation(tmp_path, **options)
    after = moved(before)
    rows = made(before, after, datamodule().images["val"])
    assert {row.claim for row in rows} == {"P1", "P2", "P3", "P4", "P5"}
    patterns = [row for row in rows if row.claim in ("P4", "P5")]
    alone = evaluation(tmp_path, **options, names=["P4", "P5"])
    assert repr(alone(before, after, datamodule().images["val"])) == repr(patterns)  # NaN too
    assert alone.networks == []
    assert alone.left_out == {}


def test_a_verdict_says_that_claims_about_chains_are_left_out(tmp_path: Path) -> None:
    before = backbone().eval()
    made = evaluation(tmp_path, built_in=[], stages=["conv1", "conv5"], tuning=False)
    rows = made(before, moved(before), datamodule().images["val"])
    assert {row.claim for row in rows} == {"P1", "P2", "P3"}
    assert all("chains of convolutions" in made.left_out[claim] for claim in ("P4", "P5"))


def test_an_interrupted_verdict_goes_on_behind_the_last_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = backbone().eval()
    after, images = moved(before), datamodule().images["val"]
    whole = evaluation(tmp_path / "whole", built_in=["displaced", "untrained"])
    expected = repr(whole(before, after, images))
    real = measure_network
    measured: list[nn.Module] = []

    def stopped(network: nn.Module, *arguments: Any, **options: Any) -> Any:
        if len(measured) == 2:
            raise KeyboardInterrupt
        measured.append(network)
        return real(network, *arguments, **options)

    monkeypatch.setattr(claims, "measure_network", stopped)
    options: dict[str, Any] = {"built_in": ["displaced", "untrained"]}
    with pytest.raises(KeyboardInterrupt):
        evaluation(tmp_path, **options)(before, after, images)
    assert measured == [before, after]
    measured.clear()
    with pytest.raises(KeyboardInterrupt):  # other options: nothing that was kept is of use
        evaluation(tmp_path, **options, target=0.5)(before, after, images)
    assert measured == [before, after]
    measured.clear()
    again = evaluation(tmp_path, **options)
    assert repr(again(before, after, images)) == expected
    assert len(measured) == 2
    assert again.networks == whole.networks
    assert not (tmp_path / "measured").exists()


def test_one_background_can_be_chosen(tmp_path: Path) -> None:
    before = backbone().eval()
    alone = evaluation(tmp_path, built_in=[], backgrounds=["grey"])
    rows = alone(before, moved(before), datamodule().images["val"])
    assert {row.background for row in rows} == {"grey", ""}
    assert {of["background"] for of in alone.networks} == {"grey"}
    assert evaluation(tmp_path, stages=["conv4", "conv1"]).stages == ["conv1", "conv4"]
    with pytest.raises(ValueError, match=r"claims.backgrounds has \['black'\]; choose of"):
        evaluation(tmp_path, backgrounds=["black"]).check_options(before)


@pytest.mark.parametrize(
    ("names", "fields", "reinjected", "widened"),
    [
        (["P1"], {"conv1"}, set(), set()),
        (["P3"], {"conv4"}, set(), set()),
        (["P4"], set(), set(), {"conv5"}),
        (["P5"], set(), {"conv1", "conv4", "conv5"}, set()),
        (["P2", "P4"], {"conv4", "conv5"}, set(), {"conv5"}),
    ],
)
def test_only_the_stages_that_a_claim_needs_are_measured(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    names: list[str],
    fields: set[str],
    reinjected: set[str],
    widened: set[str],
) -> None:
    before, measured = plain_chain(), []

    def recorded(*arguments: Any, **options: Any) -> NetworkMeasurements:
        measured.append(measure_network(*arguments, **options))
        return measured[-1]

    monkeypatch.setattr(claims, "measure_network", recorded)
    stages = ["conv1", "conv4", *(["conv5"] if names != ["P3"] else [])]
    alone = evaluation(tmp_path, built_in=[], stages=stages, names=names, tuning=False)
    rows = alone(before, moved(before), datamodule().images["val"])
    assert {row.claim for row in rows} == {*names}
    for of in measured:
        assert {key.split("/")[0] for key in of.fields} == {*of.activations} == fields
        assert {*of.patterns} == reinjected
        assert {*of.pattern_spread} == widened


@pytest.mark.parametrize("names", [["P1"], ["P2"], ["P3"]])
def test_only_what_a_claim_needs_is_measured(tmp_path: Path, names: list[str]) -> None:
    before = backbone().eval()
    alone = evaluation(tmp_path, built_in=[], names=names)
    rows = alone(before, moved(before), datamodule().images["val"])
    assert {row.claim for row in rows} == {*names}
    rules = {bool(of["rule"]) for of in alone.networks}
    assert rules <= {True, False} if names == ["P3"] else rules == {False}


def test_a_claim_about_stages_that_are_not_asked_for_says_so(tmp_path: Path) -> None:
    before = backbone().eval()
    alone = evaluation(tmp_path, built_in=[], stages=["conv5"], names=["P1", "P2"])
    rows = alone(before, moved(before), datamodule().images["val"])
    assert {row.claim for row in rows} == {"P2"}
    sentence = "P1 is not decided: it is about conv1, conv2, conv3; add one to claims.stages"
    assert alone.left_out == {"P1": sentence}
    assert json.loads((tmp_path / "verdict.json").read_text())["left_out"] == alone.left_out
    page = StringIO()
    print_verdict(rows, alone.networks, alone.left_out, Console(file=page, width=200))
    assert f"{sentence}." in page.getvalue()
    (tmp_path / "config.yaml").write_text("name: a run\n")
    assert f"{sentence}." in write_run_page(tmp_path).read_text()


@pytest.mark.parametrize(
    ("stages", "names"), [(["conv5"], ["P1"]), (["conv1"], ["P2", "P3"]), (["conv4"], ["P4", "P5"])]
)
def test_claims_that_are_all_about_other_stages_are_refused(
    tmp_path: Path, stages: list[str], names: list[str]
) -> None:
    with pytest.raises(ValueError, match=rf"decides nothing: {names[0]} is not .* claims\.stages"):
        evaluation(tmp_path, stages=stages, names=names).check_options(backbone())


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["P1", "P9"], r"claims.names has \['P9'\]; choose of \['P1', 'P2'"),
        (["P4", "P5"], r"claims.names=.*are about chains .*backbone=alexnet, vgg16 or vgg19.*add"),
    ],
)
def test_claims_that_cannot_be_decided_are_refused(
    tmp_path: Path, names: list[str], message: str
) -> None:
    before = backbone().eval()
    whole = evaluation(tmp_path, names=names, stages=["conv1", "conv5"])
    with pytest.raises(ValueError, match=message):
        whole(before, before, datamodule().images["val"])


def test_units_that_a_stage_has_not_are_named(tmp_path: Path) -> None:
    before = backbone().eval()
    with pytest.raises(ValueError, match=r"claims.units=\[0, 99\]: conv1 has units 0 … 3"):
        evaluation(tmp_path, units=[0, 99])(before, before, datamodule().images["val"])
