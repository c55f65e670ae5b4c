import pytest
import torch
from torch import Tensor, nn
from torchvision.models import alexnet, resnet18, vgg16

from deepsal.rf.theory import Geometry, geometry
from tests.conftest import backbone


def square(size: int, stride: int, offset: int) -> Geometry:
    return Geometry((size, size), (stride, stride), (offset, offset))


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        ("features.1", square(11, 4, 2)),
        ("features.4", square(51, 8, 18)),
        ("features.7", square(99, 16, 34)),
        ("features.11", square(163, 16, 66)),
    ],
)
def test_alexnet_has_the_published_fields(layer: str, expected: Geometry) -> None:
    assert geometry(alexnet(weights=None), layer) == expected


@pytest.mark.parametrize(("layer", "size", "stride"), [("15", 40, 4), ("22", 92, 8)])
def test_vgg16_has_the_published_fields(layer: str, size: int, stride: int) -> None:
    found = geometry(vgg16(weights=None), f"features.{layer}")
    assert (found.size, found.stride) == ((size, size), (stride, stride))


@pytest.mark.parametrize(("layer", "size"), [("layer1", 43), ("layer2", 99), ("layer3", 211)])
def test_resnet18_has_the_published_fields(layer: str, size: int) -> None:
    assert geometry(resnet18(weights=None), layer).size == (size, size)


@pytest.mark.parametrize("seed", range(8))
def test_random_chains_agree_with_the_closed_form(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high, (), generator=generator))

    layers: list[nn.Module] = []
    size, stride, offset, channels = 1, 1, 0, 3
    for _ in range(draw(2, 5)):
        kernel = draw(1, 4)
        step = 2 if draw(0, 2) else 1
        padding = kernel // 2
        if draw(0, 3) and kernel > 1:
            layers.append(nn.Conv2d(channels, 4, kernel, step, padding))
            channels = 4
        else:
            layers.append(nn.MaxPool2d(kernel, step, padding))
        size += (kernel - 1) * stride
        offset += padding * stride
        stride *= step
    network = nn.Sequential(nn.Sequential(*layers), nn.Conv2d(channels, 2, 1))
    assert geometry(network, "0") == square(size, stride, offset)


class Asymmetric(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tall = nn.Conv2d(3, 2, (5, 1), padding=(2, 0))
        self.wide = nn.Conv2d(3, 2, (1, 3), padding=(0, 1))

    def forward(self, image: Tensor) -> Tensor:
        return torch.as_tensor(self.tall(image) + self.wide(image))


def test_parallel_paths_see_the_union() -> None:
    network = nn.Sequential(Asymmetric(), nn.Identity())
    assert geometry(network, "0") == Geometry((5, 3), (1, 1), (2, 1))


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, 3, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        return image * (self.weight * image.mean((2, 3), keepdim=True)).sigmoid()


def test_global_context_is_reported_as_such() -> None:
    assert geometry(nn.Sequential(Gated(), nn.Identity()), "0").size is None


def test_the_toy_network_of_these_tests() -> None:
    assert geometry(backbone(), "conv3") == square(15, 8, 7)
