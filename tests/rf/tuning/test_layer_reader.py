import numpy as np
import pytest
import torch
from torch import Tensor, nn

from deepsal.rf.geometry import measure_geometry
from deepsal.rf.hooks import temporary_eval_mode
from deepsal.rf.tuning.layer_reader import LayerReader
from tests.conftest import backbone

STAGES = ["conv1", "conv3", "conv4"]


class Shortcut(nn.Module):
    """A second layer that reads the first and the image itself."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 3, 3, padding=1)
        self.b = nn.Conv2d(3, 2, 5, padding=2, stride=2)

    def forward(self, image: Tensor) -> Tensor:
        output: Tensor = self.b(self.a(image).relu() + image)
        return output


def reader_on_noise(network: nn.Module, names: list[str], side: int = 160) -> LayerReader:
    geometry = {name: measure_geometry(network, name) for name in names}
    background = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    return LayerReader(network, geometry, background)


@pytest.mark.parametrize("centre", [(79.5, 79.5), (20.0, 150.0)])
def test_responses_on_windows_are_those_of_whole_images(centre: tuple[float, float]) -> None:
    network = backbone()
    with temporary_eval_mode(network), torch.no_grad():
        reader = reader_on_noise(network, STAGES)
        units = {name: np.array([[2, 3], [4, 4]]) for name in STAGES}
        windows = reader.windows(centre, 8.0, units)
        image = reader.background.repeat(2, 1, 1, 1)
        rows, columns = (torch.arange(160) - c for c in centre)
        image[:, :, torch.hypot(rows[:, None], columns) <= 8] = torch.tensor([0.0, 1.0]).view(
            2, 1, 1
        )
        whole = reader.read(image)
        parts = reader.read(image[:, :, *windows["conv1"].pixels], windows)
    assert [*windows] == STAGES
    for name, window in windows.items():
        expected = reader.blank[name].repeat(2, 1, 1, 1)
        expected[:, :, *window.positions] = parts[name]
        assert (whole[name] - expected).abs().max() <= 1e-5 * whole[name].abs().max()
        assert (whole[name] - reader.blank[name]).abs().max() > 1e-2 * whole[name].abs().max()
    rows_of_first = windows["conv1"].pixels[0]
    assert rows_of_first.stop - rows_of_first.start < 160


def test_a_layer_that_reads_several_earlier_ones_has_whole_images() -> None:
    network = Shortcut()
    with temporary_eval_mode(network), torch.no_grad():
        reader = reader_on_noise(network, ["a", "b"], 32)
    assert not reader.windowed
    assert reader.windows((15.5, 15.5), 1.0)["a"].pixels == (slice(0, 32), slice(0, 32))
