from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import alexnet, mobilenet_v3_small, resnet18, resnet50, vgg16, vgg19
from torchvision.models.resnet import BasicBlock
from torchvision.models.vgg import cfgs, make_layers

from deepsal.rf.geometry import FieldGeometry, chain_geometry, measure_geometry
from tests.conftest import backbone


def square(size: int, stride: int, offset: int) -> FieldGeometry:
    return FieldGeometry((size, size), (stride, stride), (offset, offset))


PUBLISHED: list[tuple[Callable[..., nn.Module], dict[int, FieldGeometry]]] = [
    (
        # https://distill.pub/2019/computing-receptive-fields: 195 and stride 32 at pool5 (there
        # conv1 has no padding and the offset is 64); the layers before it by the same sums
        alexnet,
        {
            2: square(11, 4, 2),
            3: square(19, 8, 2),
            5: square(51, 8, 18),
            6: square(67, 16, 18),
            8: square(99, 16, 34),
            10: square(131, 16, 50),
            12: square(163, 16, 66),
            13: square(195, 32, 66),
        },
    ),
    (
        # same page: 212, stride 32 and padding 90 at pool5; the sizes of the other layers:
        # https://github.com/kkrunal77/EVA/blob/master/7.md
        vgg16,
        {
            2: square(3, 1, 1),
            4: square(5, 1, 2),
            5: square(6, 2, 2),
            9: square(14, 2, 6),
            10: square(16, 4, 6),
            16: square(40, 4, 18),
            17: square(44, 8, 18),
            23: square(92, 8, 42),
            24: square(100, 16, 42),
            30: square(196, 16, 90),
            31: square(212, 32, 90),
        },
    ),
    (
        # VGG16 and one more 3×3 convolution at each of the strides 4, 8 and 16:
        # 40 + 8, 92 + 8 + 16, 196 + 8 + 16 + 32
        vgg19,
        {
            9: square(14, 2, 6),
            18: square(48, 4, 22),
            19: square(52, 8, 22),
            27: square(116, 8, 54),
            28: square(124, 16, 54),
            36: square(252, 16, 118),
            37: square(268, 32, 118),
        },
    ),
]


@pytest.mark.parametrize(
    ("build", "layers", "expected"),
    [(build, n, g) for build, stages in PUBLISHED for n, g in stages.items()],
)
def test_chains_have_the_published_fields(
    build: Callable[..., nn.Module], layers: int, expected: FieldGeometry
) -> None:
    with torch.device("meta"):  # only the structure counts
        network = build(weights=None)
    assert chain_geometry([*network.get_submodule("features").children()][:layers]) == expected


@pytest.mark.parametrize("layers", [2, 6, 13])
def test_alexnet_as_measured_has_the_published_fields(layers: int) -> None:
    network = alexnet(weights=None).features
    assert measure_geometry(network, str(layers - 1)) == PUBLISHED[0][1][layers]


@pytest.mark.parametrize("layers", [16, 30])
def test_vgg16_as_measured_has_the_published_fields(layers: int) -> None:
    network = make_layers(cfgs["D"])
    assert measure_geometry(network, str(layers - 1)) == PUBLISHED[1][1][layers]


# https://gist.github.com/samson-wang/a6073c18f2adf16e0ab5fb95b53db3e6
RESNET18 = {"layer1": 43, "layer2": 99, "layer3": 211, "layer4": 435}
RESNET50 = {"layer1": 35, "layer2": 91, "layer3": 267, "layer4": 427}


def test_resnet18_has_the_published_fields() -> None:
    network = resnet18(weights=None)
    for layer, size in RESNET18.items():
        assert measure_geometry(network, layer).size == (size, size)


def bottlenecks(strided: int) -> list[int]:
    """Sizes of ResNet50's stages: only the 3×3 convolution of a bottleneck widens the field."""
    size, stride, sizes = 7 + 2 * 2, 4, []  # conv1 and its max pooling
    for stage, blocks in enumerate((3, 4, 6, 3)):
        for block in range(blocks):
            size += (3 - 1) * stride
            if (strided == 0 and stage > 0 and block == 0) or (
                strided == -1 and stage < 3 and block == blocks - 1
            ):
                stride *= 2
        sizes.append(size)
    return sizes


def test_resnet50_strides_earlier_in_torchvision_than_in_the_published_one() -> None:
    assert bottlenecks(strided=-1)[-1] == 483  # https://distill.pub/2019/computing-receptive-fields
    assert bottlenecks(strided=0) == [*RESNET50.values()]
    network = resnet50(weights=None, width_per_group=8)  # narrower bottlenecks, the same fields
    for layer, size in RESNET50.items():
        assert measure_geometry(network, layer).size == (size, size)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("seed", range(12))
def test_random_chains_measured_equal_the_closed_form(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)

    def draw(low: int, high: int) -> tuple[int, int]:
        rows, columns = torch.randint(low, high + 1, (2,), generator=generator).tolist()
        return rows, columns

    layers: list[nn.Module] = []
    channels = 3
    for _ in range(3):
        kernel, step, dilation = draw(1, 5), draw(1, 3), draw(1, 2)
        kind = draw(0, 4)[0]
        if kind == 0:
            half = kernel[0] // 2, kernel[1] // 2
            layers.append(nn.MaxPool2d(kernel, step, half, dilation, ceil_mode=seed % 2 == 0))
        elif kind == 1:
            layers.append(nn.AvgPool2d(kernel, step, ceil_mode=seed % 2 == 0))
        else:
            padding = "same" if kind == 2 else draw(0, 4)
            step = (1, 1) if kind == 2 else step
            layers.append(nn.Conv2d(channels, 2, kernel, step, padding, dilation))
            layers += [nn.BatchNorm2d(2), nn.Dropout(), nn.SiLU()]
            channels = 2
    network = nn.Sequential(nn.Sequential(*layers), nn.Identity())
    assert measure_geometry(network, "0") == chain_geometry(network), layers


@pytest.mark.parametrize(
    "module",
    [
        nn.AdaptiveAvgPool2d(7),
        nn.Linear(3, 3),
        nn.ConvTranspose2d(3, 3, 2),
        nn.Conv2d(3, 3, 3, padding=1, padding_mode="circular"),
        nn.Softmax(dim=2),
        BasicBlock(3, 3),
        backbone(),
    ],
)
def test_a_layer_without_a_closed_form_is_named(module: nn.Module) -> None:
    with pytest.raises(ValueError, match=rf"{type(module).__name__}[\s\S]*`measure_geometry`"):
        chain_geometry([nn.Conv2d(3, 3, 3), nn.Sequential(module)])


class Padded(nn.Conv2d):
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(nn.functional.pad(input, (2, 0, 2, 0)))


def test_a_convolution_that_does_more_has_no_closed_form() -> None:
    with pytest.raises(ValueError, match="Padded"):
        chain_geometry([Padded(3, 2, 3)])
    assert measure_geometry(nn.Sequential(Padded(3, 2, 3)), "0") == square(3, 1, 2)


class Asymmetric(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tall = nn.Conv2d(3, 2, (5, 1), padding=(2, 0))
        self.wide = nn.Conv2d(3, 2, (1, 3), padding=(0, 1))

    def forward(self, image: Tensor) -> Tensor:
        return torch.as_tensor(self.tall(image) + self.wide(image))


def test_parallel_paths_see_the_union() -> None:
    network = nn.Sequential(Asymmetric(), nn.Identity())
    assert measure_geometry(network, "0") == FieldGeometry((5, 3), (1, 1), (2, 1))


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, 3, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        return image * (self.weight * image.mean((2, 3), keepdim=True)).sigmoid()


def test_global_context_is_reported_as_such() -> None:
    assert measure_geometry(nn.Sequential(Gated(), nn.Identity()), "0").size is None
    everywhere = nn.Conv2d(3, 2, 3, padding=1, padding_mode="circular")
    assert measure_geometry(nn.Sequential(everywhere), "0").size is None


def test_squeeze_and_excitation_sees_the_whole_image() -> None:
    network = mobilenet_v3_small(weights=None)
    assert measure_geometry(network, "features.0") == square(3, 2, 1)
    assert measure_geometry(network, "features.1.block.0") == square(7, 4, 3)
    assert measure_geometry(network, "features.1") == FieldGeometry(None, (4, 4), (0, 0))


def test_the_toy_network_of_these_tests() -> None:
    assert measure_geometry(backbone(), "conv3") == square(15, 8, 7)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_the_precision_of_a_network_does_not_matter(dtype: torch.dtype) -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 7, 2, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, 2, 1))
    assert measure_geometry(network.to(dtype), "2") == chain_geometry(network) == square(11, 4, 5)
    assert {p.dtype for p in network.parameters()} == {dtype}


def test_a_network_need_not_have_parameters() -> None:
    network = nn.Sequential(nn.AvgPool2d(2), nn.MaxPool2d(3, 3))
    assert measure_geometry(network, "1") == chain_geometry(network) == square(6, 6, 0)
    assert chain_geometry([nn.Sequential(network[0], network[0])]) == square(
        4, 4, 0
    )  # it runs twice


@pytest.mark.parametrize(
    ("last", "message"),
    [
        (nn.Flatten(2), r"\(1, units, h, w\)"),
        (nn.Upsample(scale_factor=2), "regular grid"),
        (nn.AdaptiveAvgPool2d(3), "regular grid"),
    ],
)
def test_what_is_not_a_regular_map_is_an_error(last: nn.Module, message: str) -> None:
    network = nn.Sequential(nn.Conv2d(3, 2, 3, 2, 1), last)
    with pytest.raises(ValueError, match=message):
        measure_geometry(network, "1")
