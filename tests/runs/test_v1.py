import json
from copy import deepcopy
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from deepsal.rf import store
from deepsal.runs import v1
from tests.conftest import backbone
from tests.rf.tuning.support import SMALL


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("run")
    before = backbone().eval()
    after = deepcopy(before)
    with torch.no_grad():
        for parameter in after.parameters():
            parameter.mul_(1.1)
    evaluation = v1.V1Evaluation(folder, ["conv1", "conv3"])
    evaluation.protocol = SMALL
    returned = evaluation(before, after)
    written: dict[str, Any] = json.loads((folder / "v1.json").read_text())
    assert written["weights"] == returned["weights"]
    assert written["weights"][v1.RUN_NETWORK] == store.weights_fingerprint(after)
    return written


def test_networks_and_controls_are_written_stage_by_stage(result: dict[str, Any]) -> None:
    assert [*result["networks"]] == [v1.RUN_NETWORK, v1.START_NETWORK, "untrained"]
    assert len(set(result["weights"].values())) == 3
    for stages in result["networks"].values():
        assert [*stages] == ["conv1", "conv3"]
        for layer in stages.values():
            assert layer["compared"] == layer["responsive"] > 0
    assert result["protocol"]["pixels_per_degree"] == SMALL.pixels_per_degree
    assert sum(result["cells"]["ssi"]["counts"]) == 190


def test_a_network_that_did_not_learn_is_measured_once(tmp_path: Path) -> None:
    network = backbone().eval()
    evaluation = v1.V1Evaluation(tmp_path, ["conv1"])
    evaluation.protocol = SMALL
    result = evaluation(network, deepcopy(network))
    assert [*result["networks"]] == [v1.START_NETWORK, "untrained"]
    assert "v1/conv1/ssi" in v1.logged_similarities(result)


def test_similarities_are_logged_and_printed(result: dict[str, Any]) -> None:
    logged = v1.logged_similarities(result)
    stages = result["networks"][v1.RUN_NETWORK]
    assert logged["v1/conv3/frequency"] == stages["conv3"]["similarity"]["frequency"]["estimate"]
    written = deepcopy(result)
    written["networks"][v1.RUN_NETWORK]["conv3"]["similarity"]["ssi"]["estimate"] = 0.4567
    console = Console(file=StringIO(), width=100)
    v1.print_similarities(written, console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "0.46" in text
    assert "14 pixels per degree" in text
