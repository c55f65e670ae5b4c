import pytest
from torch import Tensor, nn

from deepsal.rf.tuning.grating_indices import SizeTuningIndices, size_tuning_indices
from deepsal.rf.tuning.grating_responses import record_grating_responses
from tests.rf.tuning.support import PROTOCOL

models = pytest.importorskip("plenoptic.models", reason="pip install plenoptic")


class GreyInput(nn.Module):
    """A model of the mean of red, green and blue."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.units = nn.Identity()

    def forward(self, image: Tensor) -> Tensor:
        output: Tensor = self.units(self.model(image.mean(1, keepdim=True)))
        return output


def indices(model: nn.Module) -> SizeTuningIndices:
    network = GreyInput(model.eval())
    return size_tuning_indices(record_grating_responses(network, ["units"], PROTOCOL)["units"])


def test_a_linear_centre_and_surround_suppresses_disks_and_not_gratings() -> None:
    model = models.CenterSurround(
        (31, 31), on_center=[True, False], center_std=1.5, surround_std=6.0, out_channels=2
    )
    tuned = indices(model).index
    assert tuned["on_off"].tolist() == [1, -1]
    assert tuned["disk_ssi"].min() > 0.9
    assert tuned["ssi"].max() < 0.1
    assert tuned["circular_variance"].min() > 0.95


def test_contrast_gain_control_suppresses_gratings_and_luminance_gain_control_does_not() -> None:
    luminance, both = (
        indices(model((31, 31), pretrained=True, cache_filt=True))
        for model in (models.LuminanceGainControl, models.OnOff)
    )
    assert luminance.index["ssi"].max() < 0.1
    assert both.index["ssi"].min() > 0.2
    assert both.index["on_off"].tolist() == [1, -1]
    assert luminance.silent == both.silent == 0
