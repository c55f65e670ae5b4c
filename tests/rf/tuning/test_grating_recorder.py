from dataclasses import replace

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


class ShiftedBlobs(nn.Module):
    """Two Gaussians at a stride of 8 pixels, with centres away from the theoretical ones."""

    shifts = ((2.3, -5.6), (-7.2, 6.4))

    def __init__(self) -> None:
        super().__init__()
        at = torch.arange(33.0) - 16
        blobs = [torch.exp(-((at[:, None] - y) ** 2 + (at - x) ** 2) / 8) for y, x in self.shifts]
        self.blobs = nn.Conv2d(3, 3, 33, stride=8, padding=16, bias=False)
        weight = torch.stack([*blobs, 0 * blobs[0]])[:, None]
        self.blobs.weight.data = weight.expand(-1, 3, -1, -1).clone()

    def forward(self, image: Tensor) -> Tensor:
        output: Tensor = self.blobs(image)
        return output


def test_small_gratings_find_the_centre_of_a_field_to_a_fraction_of_a_pixel() -> None:
    one, many = (
        record_grating_responses(ShiftedBlobs(), ["blobs"], replace(SMALL, centres=centres))[
            "blobs"
        ]
        for centres in (1, 4)
    )
    assert one.field_centre[:2] * 14 == pytest.approx(np.array(ShiftedBlobs.shifts), abs=0.5)
    assert np.isnan(one.field_centre[2]).all()
    assert arrays_equal(one.field_centre, many.field_centre)
    assert np.abs(one.offset[:2] * 14).max() <= 4
    assert np.abs(one.offset[:2] * 14).max() > 1.1
    assert np.abs(many.offset[:2] * 14).max() <= 1.01


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
