import json
from copy import deepcopy
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from rich.console import Console

from deepsal.rf import store
from deepsal.rf.tuning.grating_indices import size_tuning_indices
from deepsal.rf.tuning.grating_responses import record_grating_responses
from deepsal.rf.tuning.texture_responses import texture_modulation
from deepsal.runs import v1
from tests.conftest import backbone, datamodule
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


def test_the_short_protocol_has_no_preferred_frequency(tmp_path: Path) -> None:
    network = backbone().eval()
    evaluation = v1.V1Evaluation(tmp_path, ["conv1"], pixels_per_degree=14.0, short=True)
    assert len(evaluation.protocol.phase) == 6
    evaluation.protocol = replace(SMALL, tuning_frequency=())
    result = evaluation(network, deepcopy(network))
    assert [*result["cells"]] == ["ssi", "summation_field", "surround_diameter", "surround_ratio"]
    console = Console(file=StringIO(), width=100)
    v1.print_similarities(result, console)
    assert "frequency" not in console.file.getvalue()  # type: ignore[attr-defined]


def test_images_are_backgrounds_and_textures(tmp_path: Path) -> None:
    network, images = backbone().eval(), datamodule().images["val"]
    evaluation = v1.V1Evaluation(tmp_path, ["conv1", "conv3"], backgrounds=2, textures=4)
    evaluation.protocol = SMALL
    layers = evaluation(network, deepcopy(network), images)["networks"][v1.START_NETWORK]
    textures = torch.stack([images[i].image for i in range(4)])
    of = texture_modulation(network, ["conv1", "conv3"], textures)["conv3"]
    assert layers["conv3"]["values"]["texture_modulation"] == pytest.approx(of.modulation.tolist())
    one, two = (
        size_tuning_indices(
            record_grating_responses(network, ["conv1", "conv3"], SMALL, background=scene)["conv3"]
        )
        for scene in textures[:2]
    )
    expected = np.nanmean([one.index["ssi"], two.index["ssi"]], 0)
    assert np.allclose(layers["conv3"]["values"]["ssi"], expected, equal_nan=True, rtol=1e-4)


def test_other_trainings_are_measured_too(tmp_path: Path) -> None:
    network, folder = backbone().eval(), tmp_path / "other"
    (folder / "checkpoints").mkdir(parents=True)
    options = {"seed": 3, "control": "shuffled_fixations", "backbone": {"name": "toy"}}
    (folder / "config.yaml").write_text(yaml.safe_dump(options))
    after = deepcopy(network)
    with torch.no_grad():
        for parameter in after.parameters():
            parameter.mul_(1.1)
    state = {f"network.backbone.{key}": value for key, value in after.state_dict().items()}
    torch.save({"state_dict": state}, folder / "checkpoints" / "best.ckpt")
    evaluation = v1.V1Evaluation(tmp_path, ["conv1"], controls=[folder], run={"backbone": "toy"})
    evaluation.protocol = SMALL
    result = evaluation(network, deepcopy(network))
    name = "shuffled_fixations, seed 3"
    assert [*result["networks"]] == [v1.START_NETWORK, "untrained", name]
    assert result["weights"][name] == store.weights_fingerprint(after)
    evaluation.run = {"backbone": "vgg16"}
    with pytest.raises(ValueError, match=r"v1\.controls: .* was trained with backbone=toy"):
        evaluation(network, network)


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
