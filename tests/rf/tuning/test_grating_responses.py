import numpy as np
import torch

from deepsal.rf.hooks import temporary_eval_mode
from deepsal.rf.mapping.readout import UnitReadout
from deepsal.rf.tuning import stimuli
from deepsal.rf.tuning.grating_protocol import CONTRASTS, SURROUNDS
from deepsal.rf.tuning.grating_responses import record_grating_responses
from tests.conftest import NoTrace, backbone
from tests.rf.tuning.support import SMALL


def test_a_unit_responds_as_in_a_whole_image_of_stimuli_on_its_field() -> None:
    network, names = backbone(), ["conv2", "conv4"]
    responses = record_grating_responses(network, names, SMALL, surround=True)
    side, scale = 80, 14  # 5 degrees, and up to a multiple of the stride
    at = ((side - 1) / 2, (side - 1) / 2)
    image = stimuli.grating_images(
        (side, side), at, [3 / scale], [60.0], [120.0], radius=[0.8 * scale]
    )
    with temporary_eval_mode(network), torch.no_grad():
        for name in names:
            response = responses[name]
            z = UnitReadout(network, name, image).activation(image)[0].flatten(1)
            ours = response.gratings[:, 1, 1, 1, 2]
            error = (z - torch.from_numpy(ours)[:, None]).abs().amin(1)
            assert error.max() <= 1e-4 * np.abs(ours).max()  # at one of the positions
            assert np.ptp(ours) > 100 * error.max()
            assert response.gratings.shape[1:] == (3, 2, 3, 6)
            assert response.tuning.shape[1:] == (3, 3, 6)  # 12 cycles per degree are not shown
            assert response.disks.shape[1:] == (2, 3)
            assert response.surround is not None
            assert response.surround.shape[1:] == (len(CONTRASTS) + len(SURROUNDS), 6)


def test_recording_leaves_the_network_and_the_generators_as_they_were(
    leaves_no_trace: NoTrace,
) -> None:
    network = backbone().train()
    network.get_submodule("conv3").requires_grad_(False)
    state = torch.get_rng_state()
    with leaves_no_trace(network):
        record_grating_responses(network, ["conv3"], SMALL)
    assert torch.equal(state, torch.get_rng_state())
