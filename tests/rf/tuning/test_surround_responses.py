from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from deepsal.rf.mapping.readout import UnitReadout
from deepsal.rf.tuning import stimuli
from deepsal.rf.tuning.grating_protocol import CONTRASTS, GratingResponses
from deepsal.rf.tuning.grating_responses import record_grating_responses
from tests.conftest import backbone
from tests.rf.tuning.support import SMALL


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


@pytest.mark.parametrize("centres", [2, 3, 4])
def test_a_layer_may_have_no_unit_at_some_stimulus_centres(centres: int) -> None:
    names, protocol = ["conv1", "conv3", "conv4"], replace(SMALL, centres=centres)
    for response in record_grating_responses(backbone(), names, protocol, surround=True).values():
        assert response.surround is not None
        assert np.isfinite(response.surround).all()
        lower = response.surround[:, : len(CONTRASTS) - 1] - response.blank[:, None, None]
        assert lower.any((1, 2)).all()


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
