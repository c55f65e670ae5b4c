"""Networks, patches and gradients for the tests of receptive fields."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from deepsal.rf.mapping.engine.windowed_gradient import Box, WindowedGradient

SIDE = 15
"""Side of a planted field, pixels."""


class Planted(nn.Module):
    """y = relu(w·x + b) behind an ON/OFF pair of rectifiers, for each field w of a bank."""

    def __init__(self, bank: Tensor) -> None:
        super().__init__()
        self.split = nn.Conv2d(3, 2, 1, bias=False)
        self.split.weight.data = torch.tensor([1.0, -1.0]).view(2, 1, 1, 1).expand(2, 3, 1, 1) / 3
        self.pair = nn.ReLU()
        self.bank = nn.Conv2d(2, len(bank), SIDE, padding=SIDE // 2)
        self.bank.weight.data = torch.stack([bank, -bank], 1)
        self.get_parameter("bank.bias").data.fill_(-1e-3)  # silent units too
        self.units = nn.Sequential(self.bank, nn.ReLU())

    def forward(self, image: Tensor) -> Tensor:
        return torch.as_tensor(self.units(self.pair(self.split(image))))


def middle(units: int, images: int, at: tuple[int, int]) -> NDArray[np.int64]:
    """Patches of units at one place of each image."""
    return np.array([[[i, *at] for i in range(images)]] * units)


def unsettle(network: nn.Module) -> None:
    """Give batch norms statistics that are not 0 and 1, so that padding is not nothing."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            module.running_mean.data.normal_(std=0.1)
            module.bias.data.normal_(std=0.1)


def random_gradient(
    at: Box, batch: int = 2, channels: int = 4, size: tuple[int, int] = (9, 12)
) -> WindowedGradient:
    """A windowed gradient of random numbers in a box."""
    generator = torch.Generator().manual_seed(sum(at))
    values = torch.randn(batch, channels, *at.shape, generator=generator)
    return WindowedGradient(values, at, size)


def equals_dense(gradient: object, expected: Tensor, windowed: bool = True) -> bool:
    """Whether a gradient, windowed or not as stated, has these values."""
    assert isinstance(gradient, Tensor)
    assert isinstance(gradient, WindowedGradient) == windowed
    if isinstance(gradient, WindowedGradient):
        assert gradient.window.shape[-2:] == gradient.box.shape
        gradient = gradient.dense()
    return gradient.shape == expected.shape and torch.allclose(gradient, expected, atol=1e-6)
