import numpy as np
import torch
from torch import nn

from deepsal.rf.geometry import measure_geometry
from deepsal.rf.hooks import temporary_eval_mode
from deepsal.rf.tuning.battery import record_disk_responses, record_responses
from deepsal.rf.tuning.recording import MiddleUnitRecorder
from tests.conftest import backbone


def test_answers_are_less_that_to_grey_for_every_combination() -> None:
    network = nn.Sequential(nn.Conv2d(3, 2, 5, padding=2))
    with temporary_eval_mode(network), torch.no_grad():
        recorder = MiddleUnitRecorder(
            network, "0", (32, 40), measure_geometry(network, "0"), 1 << 16
        )
        answers = recorder.record_disks(np.array([1.0, 20.0]), 0.25)
        bias = network[0].bias
        large = recorder.grey_response[0].numpy() + answers[:, 0, 1]
        white = network(torch.full((1, 3, 32, 40), 0.75))[0, :, 16, 20].numpy()
    assert bias is not None
    assert answers.shape == (2, 2, 2)
    assert np.allclose(large, white, atol=1e-5)
    assert np.allclose(answers[:, 0], -answers[:, 1], atol=1e-5)


def test_disks_alone_are_those_of_the_whole_battery() -> None:
    network, names, size = backbone(), ["conv2", "conv4"], (48, 64)
    alone, all_of_them = (
        record_disk_responses(network, names, size),
        record_responses(network, names, size),
    )
    for name in names:
        radius, answers = alone[name]
        assert np.array_equal(radius, all_of_them[name].battery.radius)
        assert np.array_equal(answers, all_of_them[name].disks)
