from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from deepsal.rf.tuning.grating_responses import record_grating_responses
from tests.conftest import arrays_equal
from tests.rf.tuning.support import SMALL


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
