"""Five-stage cuts of the networks of torchvision and timm."""

import itertools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from typing_extensions import override

from deepsal.vocabulary import STAGES

VGG_STAGE_ENDS = {
    "alexnet": (2, 5, 8, 10, 12),
    "vgg16": (4, 9, 16, 23, 30),
    "vgg19": (4, 9, 18, 27, 36),
}
"""Ends of the stages in `features`, each after the last rectifier before a pooling."""

RESNET_NAMES = ("resnet18", "resnet50")
FAMILIES = (
    "a chain of stages, each with half the resolution of the last (ResNet, EfficientNet, "
    "MobileNet, ConvNeXt, Swin …), or a vision transformer of one resolution (ViT, DeiT, DINOv2, "
    "DINOv3, EVA …)"
)
"""Families of timm's models that can be cut, for messages."""
TEST_SIZE = (64, 160)
"""(height, width) of the image that a cut is tested with."""


class RowsFirstStage(nn.Sequential):
    """Modules that work on (batch, rows, columns, channels), from a map to a map.

    Args:
        modules: applied one after the other.
        of_image: whether the first of them takes the image, (batch, 3, rows, columns).
    """

    def __init__(self, *modules: nn.Module, of_image: bool) -> None:
        super().__init__(*modules)
        self.of_image = of_image

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Return a map, (batch, channels, rows, columns)."""
        x = x if self.of_image else x.movedim(1, -1)
        for module in self:
            x = module(x)
        return x.movedim(-1, 1)


def vgg_stages(network: nn.Module, name: str) -> list[nn.Module]:
    """Cut AlexNet or a VGG into five stages; pooling opens the next stage."""
    features, ends = network.get_submodule("features"), VGG_STAGE_ENDS[name]
    assert isinstance(features, nn.Sequential)
    return [features[start:end] for start, end in zip((0, *ends[:-1]), ends, strict=True)]


def resnet_stages(network: nn.Module) -> list[nn.Module]:
    """Cut a ResNet into its stem and its four groups of blocks."""
    of = network.get_submodule
    stem, second = (of("conv1"), of("bn1"), of("relu")), (of("maxpool"), of("layer1"))
    return [nn.Sequential(*stem), nn.Sequential(*second), of("layer2"), of("layer3"), of("layer4")]


def timm_stages(network: nn.Module, ends: Sequence[str], name: str) -> list[nn.Module]:
    """Cut a timm network after the modules at which its resolution is about to halve.

    Where there are four such modules (a patchifying stem), the stem is conv1. A network that keeps
    channels last (Swin) has stages that move them. The output of the five stages is compared with
    that of the whole network, on an image that is wider than high, so that rows or columns are not
    taken for channels.

    Args:
        network: the timm model.
        ends: the module names in its `feature_info`.
        name: of the network, for the message.

    Raises:
        ValueError: the network is not a chain of five stages, or a stage's output is not (batch,
            channels, rows, columns).
    """
    chain = list(_flat_chain(network, ends))
    paths = [path for path, _ in chain]
    cuts = [paths.index(end) + 1 for end in ends if end in paths]
    if len(cuts) == 4:
        cuts = [cuts[0] - 1, *cuts]
    if len(cuts) != 5 or cuts != sorted({*cuts} - {0}):
        raise ValueError(
            f"{name} cannot be cut into conv1 … conv5: it must be {FAMILIES}; timm lists the "
            f"stages {ends}"
        )
    modules = [module for _, module in chain]
    starts = (0, *cuts[:-1])
    rows_first = getattr(network, "output_fmt", "NCHW") == "NHWC"
    stages: list[nn.Module] = [
        RowsFirstStage(*modules[a:b], of_image=a == 0)
        if rows_first
        else nn.Sequential(*modules[a:b])
        for a, b in zip(starts, cuts, strict=True)
    ]
    outputs = _stage_outputs(network, stages, ends[-1], rows_first)
    if outputs is None:
        raise ValueError(f"{name} cannot be cut, because it is not {FAMILIES}")
    for stage, output in zip(STAGES, outputs, strict=True):
        if not _is_feature_map(output):
            raise ValueError(
                f"{name} cannot be cut into conv1 … conv5: the output of {stage} for an image of "
                f"{TEST_SIZE[0]}x{TEST_SIZE[1]} pixels is {tuple(output.shape)}, which is not "
                "(batch, channels, rows, columns)"
            )
    return stages


def _flat_chain(
    module: nn.Module, ends: Sequence[str], prefix: str = ""
) -> Iterator[tuple[str, nn.Module]]:
    for child_name, child in module.named_children():
        path = f"{prefix}{child_name}"
        if isinstance(child, nn.Sequential) and any(end.startswith(f"{path}.") for end in ends):
            yield from _flat_chain(child, ends, f"{path}.")
        else:
            yield path, child


@torch.no_grad()
def _stage_outputs(
    network: nn.Module, stages: Sequence[nn.Module], end: str, rows_first: bool
) -> list[Tensor] | None:
    """Return the outputs of the stages for one image; None if the network's last one differs."""
    ends: list[Tensor] = []
    image = torch.linspace(-1, 1, 3 * TEST_SIZE[0] * TEST_SIZE[1]).view(1, 3, *TEST_SIZE)
    last = network.eval().get_submodule(end)
    handle = last.register_forward_hook(lambda _m, _inputs, output: ends.append(output.clone()))
    try:
        network(image)
        outputs = [*itertools.accumulate(stages, lambda x, stage: stage(x), initial=image)][1:]
        expected = ends[0].movedim(-1, 1) if rows_first else ends[0]
        same = torch.allclose(expected, outputs[-1], rtol=1e-4, atol=1e-5)
    except Exception:  # a network for another size, or with other inputs, raises many types
        return None
    finally:
        handle.remove()
        network.train()
    return outputs if same else None


def _is_feature_map(output: Tensor) -> bool:
    """Return whether an output has rows and columns in the proportions of the test image."""
    if output.ndim != 4:
        return False
    rows, columns = (round(side / n) for side, n in zip(TEST_SIZE, output.shape[2:], strict=True))
    return rows == columns
