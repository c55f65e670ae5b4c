from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from deepsal.models import Backbone, build_backbone
from deepsal.models.stages import (
    RESNET_NAMES,
    VGG_STAGE_ENDS,
    resnet_stages,
    timm_stages,
    vgg_stages,
)
from deepsal.rf.geometry import FieldGeometry, measure_geometry

NETWORKS = {
    "alexnet": ([64, 192, 384, 256, 256], [4, 8, 16, 16, 16]),
    "vgg16": ([64, 128, 256, 512, 512], [1, 2, 4, 8, 16]),
    "vgg19": ([64, 128, 256, 512, 512], [1, 2, 4, 8, 16]),
    "resnet18": ([64, 64, 128, 256, 512], [2, 4, 8, 16, 32]),
    "resnet50": ([64, 256, 512, 1024, 2048], [2, 4, 8, 16, 32]),
    "mobilenetv3_small_100": ([16, 16, 24, 48, 576], [2, 4, 8, 16, 32]),
    "efficientnet_lite0": ([16, 24, 40, 112, 320], [2, 4, 8, 16, 32]),
    "convnext_atto": ([40, 40, 80, 160, 320], [4, 4, 8, 16, 32]),
    "convnextv2_atto": ([40, 40, 80, 160, 320], [4, 4, 8, 16, 32]),
    "swin_tiny_patch4_window7_224": ([96, 96, 192, 384, 768], [4, 4, 8, 16, 32]),
    "mambaout_femto": ([48, 48, 96, 192, 288], [4, 4, 8, 16, 32]),
}
STAGES = ["conv1", "conv2", "conv3", "conv4", "conv5"]


def test_every_row_of_the_tables_is_tested() -> None:
    assert {*VGG_STAGE_ENDS, *RESNET_NAMES} <= set(NETWORKS)


def shaped(name: str) -> Backbone:
    """Without its numbers where the network is cut by a table: a VGG has half a gigabyte."""
    with torch.device("meta" if name in {*VGG_STAGE_ENDS, *RESNET_NAMES} else "cpu"):
        return build_backbone(name, None)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_backbone_states_the_channels_and_strides_of_its_five_stages(name: str) -> None:
    network = shaped(name)
    assert network.name == name
    assert [stage for stage, _ in network.stages()] == STAGES
    assert [child for child, _ in network.named_children()] == STAGES
    channels, strides = NETWORKS[name]
    assert network.channels == dict(zip(STAGES, channels, strict=True))
    assert network.strides == dict(zip(STAGES, strides, strict=True))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_stated_shapes_are_those_of_the_features(name: str) -> None:
    network = shaped(name).eval()
    features = network(torch.zeros(2, 3, 64, 96, device=network.mean.device))
    assert list(features) == STAGES
    for stage, maps in features.items():
        stride = network.strides[stage]
        assert maps.shape[:2] == (2, network.channels[stage])
        assert abs(maps.shape[2] - 64 / stride) <= 1.5
        assert abs(maps.shape[3] - 96 / stride) <= 1.5


@pytest.mark.parametrize("name", ["alexnet", "vgg16", "vgg19", "resnet18"])
def test_stages_end_in_a_rectified_map_and_pooling_opens_the_next(name: str) -> None:
    for stage, module in shaped(name).stages():
        kinds = [type(m) for m in module.modules() if not list(m.children())]
        pools = [kind for kind in kinds if kind is nn.MaxPool2d]
        assert name == "resnet18" or kinds[-1] is nn.ReLU
        assert kinds[: len(pools)] == pools
        assert len(pools) <= 1
        assert stage != "conv1" or not pools


@torch.no_grad()
def composed(stages: list[nn.Module], image: Tensor) -> Tensor:
    return nn.Sequential(*stages)(image)  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", VGG_STAGE_ENDS)
def test_the_stages_of_a_vgg_are_the_network_itself(name: str) -> None:
    with torch.device("meta"):
        network = getattr(torchvision.models, name)(weights=None)
    network.features.to_empty(device="cpu")
    torch.manual_seed(0)
    for weights in network.features.parameters():
        nn.init.normal_(weights, std=0.05)
    image = torch.randn(1, 3, 70, 67)
    expected = network.features(image)
    stages = vgg_stages(network, name)
    assert torch.equal(network.features[-1](composed(stages, image)), expected)
    assert expected.std() > 0


@pytest.mark.parametrize("name", RESNET_NAMES)
def test_the_stages_of_a_resnet_are_the_network_itself(name: str) -> None:
    torch.manual_seed(0)
    network = getattr(torchvision.models, name)(weights=None).eval()
    image = torch.randn(2, 3, 70, 67)
    maps = composed(resnet_stages(network), image)
    assert torch.allclose(network.fc(network.avgpool(maps).flatten(1)), network(image), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mobilenetv3_small_100", {}),
        ("convnext_atto", {}),
        ("convnextv2_atto", {}),
        ("efficientnet_lite0", {}),
        ("swin_tiny_patch4_window7_224", {"dynamic_img_size": True}),
        ("swinv2_tiny_window8_256", {"dynamic_img_size": True}),
        ("test_mambaout", {}),
    ],
)
def test_the_stages_of_a_timm_network_give_its_own_features(
    name: str, options: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    network: Any = timm.create_model(name, **options).eval()
    ends = [str(info["module"]) for info in network.feature_info]
    stages = timm_stages(network, ends, name)
    network.eval()
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        expected = network.forward_intermediates(image, intermediates_only=True)
    if options or "mamba" in name:  # conv1 is the stem, which also keeps channels last
        stem = network.patch_embed if options else network.stem
        expected = [stem(image).movedim(-1, 1), *expected]
    assert len(expected) in {4, 5}
    for theirs, last in zip(reversed(expected), (5, 4, 3, 2, 1), strict=False):
        assert torch.allclose(composed(stages[:last], image), theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("vit_tiny_r_s16_p8_224", r"vit_tiny_r_s16_p8_224 cannot be cut .*'blocks\.0'"),
        ("xcit_nano_12_p16_224", "xcit_nano_12_p16_224 cannot be cut .* Swin .* DINOv2"),
        ("hrnet_w18_small", "hrnet_w18_small cannot be cut"),
    ],
)
def test_a_network_without_five_stages_is_refused(name: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        build_backbone(name, None)


class Skipping(nn.Module):
    """Five stages of which the last also sees the first."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third, self.fourth, self.fifth = (
            nn.Conv2d(3, 3, 1) for _ in range(5)
        )

    def forward(self, image: Tensor) -> Tensor:
        first = self.first(image)
        out: Tensor = self.fifth(first + self.fourth(self.third(self.second(first))))
        return out


def test_a_network_that_is_no_plain_chain_is_refused() -> None:
    ends = ["first", "second", "third", "fourth", "fifth"]
    with pytest.raises(ValueError, match="toy cannot be cut, because it is not a chain of stages"):
        timm_stages(Skipping(), ends, "toy")


def test_cutting_leaves_no_hook_and_no_eval_mode_behind() -> None:
    network: Any = timm.create_model("mobilenetv3_small_100")
    timm_stages(network, [str(f["module"]) for f in network.feature_info], "toy")
    assert not any(module._forward_hooks for module in network.modules())
    assert all(module.training for module in network.modules())


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("pvt_v2_b0", r"the output of conv1 .* is \(1, 16, 40, 32\), which is not \(batch"),
        ("sequencer2d_s", "sequencer2d_s .* cut"),
        ("swinv2_cr_tiny_224", "swinv2_cr_tiny_224 cannot be cut, because"),
        ("maxvit_rmlp_pico_rw_256", "maxvit_rmlp_pico_rw_256 cannot be cut, because"),
        ("botnet26t_256", "botnet26t_256 cannot be cut, because"),
    ],
)
def test_a_network_of_rows_first_or_of_one_size_is_refused_in_one_line(
    name: str, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason) as raised:
        build_backbone(name, None)
    assert "\n" not in str(raised.value)


@torch.no_grad()
def test_a_swin_takes_images_that_its_patches_do_not_fill() -> None:
    network = build_backbone("swin_tiny_patch4_window7_224", None).eval()
    features = network(torch.rand(1, 3, 50, 70))
    assert [*features["conv1"].shape[2:], *features["conv5"].shape[2:]] == [13, 18, 2, 3]


@pytest.mark.parametrize("stage", ["conv1", "conv2"])
def test_windows_that_shift_see_the_whole_image(stage: str) -> None:
    network = build_backbone("swin_tiny_patch4_window7_224", None)
    assert (
        measure_geometry(network, stage)
        == {
            "conv1": FieldGeometry((4, 4), (4, 4), (0, 0)),
            "conv2": FieldGeometry(None, (4, 4), (0, 0)),
        }[stage]
    )
