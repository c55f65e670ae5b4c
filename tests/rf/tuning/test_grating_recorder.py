import numpy as np
import pytest
import torch
from torch import Tensor, nn

from deepsal.rf.hooks import temporary_eval_mode
from deepsal.rf.mapping.readout import UnitReadout
from deepsal.rf.tuning import stimuli
from deepsal.rf.tuning.grating_responses import record_grating_responses
from tests.conftest import arrays_equal, backbone
from tests.rf.tuning.support import SMALL


def test_on_an_image_units_respond_to_image_and_stimulus_at_half_contrast() -> None:
    network = backbone()
    scene = torch.rand(3, 40, 60, generator=torch.Generator().manual_seed(0))
    response = record_grating_responses(network, ["conv3"], SMALL, background=scene)["conv3"]
    grey = record_grating_responses(network, ["conv3"], SMALL)["conv3"]
    side, scale = 72, 14  # 5 degrees, and up to a multiple of the stride
    at = ((side - 1) / 2, (side - 1) / 2)
    behind = 0.25 + stimuli.display_image(scene, side) / 2
    grating = stimuli.grating_images(
        (side, side), at, [3 / scale], [60.0], [120.0], radius=[0.8 * scale]
    )
    with temporary_eval_mode(network), torch.no_grad():
        reader = UnitReadout(network, "conv3", grating)
        for image, ours in (
            (behind + (grating - 0.5) / 2, response.gratings[:, 1, 1, 1, 2]),
            (behind, response.blank),
        ):
            assert 0 <= image.min() <= image.max() <= 1
            z = reader.activation(image)[0].flatten(1)
            error = (z - torch.from_numpy(ours)[:, None]).abs().amin(1)
            assert error.max() <= 1e-4 * np.abs(ours).max()
    assert arrays_equal(response.field_centre, grey.field_centre)
    assert np.abs(response.blank - grey.blank).max() > 1e-2


def test_batches_and_the_order_of_layers_change_nothing() -> None:
    network = backbone()
    one = record_grating_responses(network, ["conv1", "conv3"], SMALL)
    other = record_grating_responses(
        network, ["conv3", "conv1"], SMALL, pixels_per_pass=80 * 80 * 5
    )
    for name in one:
        for array in ("gratings", "tuning", "disks"):
            a, b = getattr(one[name], array), getattr(other[name], array)
            assert np.abs(a - b).max() <= 1e-5 * np.abs(a).max()


class TwoBranches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 2, 3, padding=1), nn.Conv2d(3, 2, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        output: Tensor = self.a(image) if image.shape[-1] % 2 else self.b(image)
        return output


def test_layers_that_no_pass_reaches_together_are_an_error() -> None:
    with pytest.raises(ValueError, match="does not run through"):
        record_grating_responses(TwoBranches(), ["a", "b"], SMALL)
