from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from deepsal.rf.hooks import temporary_eval_mode
from deepsal.rf.mapping.readout import UnitReadout
from deepsal.rf.tuning import stimuli
from deepsal.rf.tuning.grating_protocol import CONTRASTS, SURROUNDS, GratingResponses
from deepsal.rf.tuning.grating_responses import record_grating_responses
from tests.conftest import NoTrace, arrays_equal, backbone
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


def test_surrounds_are_shown_about_each_units_own_grating() -> None:
    network, names = backbone().eval(), ["conv2", "conv4"]
    responses = record_grating_responses(network, names, SMALL, surround=True)
    side, scale = 80, 14  # 5 degrees, and up to a multiple of the stride
    size, at, border = (side, side), ((side - 1) / 2, (side - 1) / 2), SMALL.radius[-1] * scale
    largest = 0
    for name in names:
        response, reader = responses[name], UnitReadout(network, name, torch.zeros(1, 3, *size))
        assert response.surround is not None
        assert response.low_contrast is not None
        for unit, (radius, frequency, angle) in enumerate(summation_gratings(response)):
            draw = partial(stimuli.grating_images, size, at, [frequency / scale])
            phase = np.array(SMALL.phase)
            around = float(radius < SMALL.radius[-1])
            largest += not around
            lowest = CONTRASTS[response.low_contrast[unit]]
            conditions = [(contrast, 0.0, 0.0) for contrast in CONTRASTS]
            conditions += [(lowest, around, 0), (1, around, 0), (1, around, 90), (0, around, 0)]
            for (centre, ring, turn), ours in zip(conditions, response.surround[unit], strict=True):
                image = draw([angle], phase, [centre / 2], [radius * scale]) - 0.5
                if ring:
                    image += draw([angle + turn], phase, [0.5], [border], [radius * scale])
                else:
                    image += 0.5
                with torch.no_grad():
                    z = reader.activation(image)[:, unit].flatten(1)
                error = (z - torch.from_numpy(ours)[:, None]).abs().amax(0).min()
                assert error <= 1e-4 * np.abs(response.gratings[unit]).max()
    assert largest, "a unit whose summation field leaves no room for a surround"


def summation_gratings(response: GratingResponses) -> Iterator[tuple[float, float, float]]:
    """Yield radius, frequency and orientation of each unit's best grating, unit by unit."""
    phase = np.array(SMALL.phase)
    for z, blank in zip(response.gratings, response.blank, strict=True):
        change = np.maximum(z, 0) - max(blank, 0)
        dc = change.mean(-1)
        f1 = 2 * np.abs(change @ np.exp(-1j * np.deg2rad(phase))) / len(phase)
        amplitude = f1 if f1.max() >= dc.max() else dc
        _, frequency, orientation = np.unravel_index(amplitude.argmax(), amplitude.shape)
        curve = amplitude[:, frequency, orientation]
        radius = np.flatnonzero(curve >= 0.95 * curve.max())[0]
        yield SMALL.radius[radius], SMALL.frequency[frequency], SMALL.orientation[orientation]


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


def test_recording_leaves_the_network_and_the_generators_as_they_were(
    leaves_no_trace: NoTrace,
) -> None:
    network = backbone().train()
    network.get_submodule("conv3").requires_grad_(False)
    state = torch.get_rng_state()
    with leaves_no_trace(network):
        record_grating_responses(network, ["conv3"], SMALL)
    assert torch.equal(state, torch.get_rng_state())


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
