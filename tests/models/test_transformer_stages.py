from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

from deepsal.models import STAGES, Backbone, FinetuneDepth, build_backbone
from deepsal.models.network import MirrorDecoder, ReadoutDecoder, SaliencyNetwork
from deepsal.models.transformer_stages import is_transformer, transformer_stages
from deepsal.rf.claims.controls import untrained_copy
from deepsal.rf.geometry import FieldGeometry, measure_geometry
from deepsal.rf.hooks import forward_until
from deepsal.rf.mapping.gradient_fields import map_receptive_fields
from deepsal.rf.mapping.reverse_correlation import reverse_correlation

TINY = "vit_tiny_patch16_224"
NETWORKS = [
    *(TINY, "deit_tiny_patch16_224", "deit_tiny_distilled_patch16_224", "vit_small_patch14_dinov2"),
    *("vit_small_patch14_reg4_dinov2", "vit_small_patch16_dinov3", "eva02_tiny_patch14_224"),
    *("vit_small_patch16_rope_mixed_ape_224", "vit_base_patch16_clip_224", "test_vit3"),
]


def cut(name: str) -> tuple[Any, Backbone]:
    """A timm network with random weights, and its five stages without normalised images."""
    torch.manual_seed(0)
    network: Any = timm.create_model(name, dynamic_img_size=True, dynamic_img_pad=True).eval()
    for token in network.parameters(recurse=False):
        nn.init.normal_(token)
    stages = transformer_stages(network, name)
    return network, Backbone(stages, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), name).eval()


@pytest.mark.parametrize("size", [(32, 64), (50, 41)], ids=["multiple of the patch", "padded"])
@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_the_stages_are_the_blocks_of_the_network(name: str, size: tuple[int, int]) -> None:
    network, backbone = cut(name)
    image = torch.randn(2, 3, *size)
    final, blocks = network.forward_intermediates(image)
    features = backbone(image)
    count = len(blocks)
    for number, stage in enumerate(STAGES[:-1], 1):
        assert torch.allclose(features[stage], blocks[round(number * count / 5) - 1], atol=1e-5)
    patches = final[:, network.num_prefix_tokens :].mT.unflatten(2, blocks[0].shape[2:])
    assert torch.allclose(features["conv5"], patches, atol=1e-5)
    assert features["conv5"].std() > 0.1


@torch.no_grad()
def test_a_padded_image_is_the_image_with_zeros_below_and_to_the_right() -> None:
    _, backbone = cut("test_vit")
    image = torch.randn(1, 3, 20, 33)
    padded = nn.functional.pad(image, (0, 15, 0, 12))
    assert torch.equal(backbone(image)["conv5"], backbone(padded)["conv5"])


def test_the_cut_leaves_the_network_whole() -> None:
    network, backbone = cut("test_vit")
    image = torch.randn(1, 3, 160, 160)
    assert network(image).shape == (1, 1000)
    own = {value.data_ptr() for value in network.state_dict().values()}
    stages = backbone.state_dict()
    assert all(v.data_ptr() in own for k, v in stages.items() if k.startswith("conv"))


def test_tokens_and_positions_belong_to_conv1_and_the_final_norm_to_conv5() -> None:
    names = [name for name, _ in build_backbone(TINY, None).named_parameters()]
    assert {"conv1.embedding.cls_token", "conv1.embedding.pos_embed"} <= {*names}
    assert names[-2:] == ["conv5.norm.weight", "conv5.norm.bias"]
    assert not any("head" in name for name in names)
    blocks = [n for n in names if n.endswith("attn.qkv.weight")]
    assert [n.partition(".")[0] for n in blocks] == [
        *("conv1", "conv1", "conv2", "conv2", "conv2", "conv3", "conv3"),
        *("conv4", "conv4", "conv4", "conv5", "conv5"),
    ]


@pytest.mark.parametrize(("name", "patch"), [("test_vit", 16), ("vit_small_patch14_dinov2", 14)])
def test_all_stages_have_the_stride_of_the_patch(name: str, patch: int) -> None:
    assert set(build_backbone(name, None).strides.values()) == {patch}


@pytest.mark.parametrize("decoder", [ReadoutDecoder, MirrorDecoder])
@pytest.mark.parametrize("depth", ["all", "conv3", "none"])
def test_only_the_chosen_depth_learns(decoder: Any, depth: str) -> None:
    torch.manual_seed(0)
    network = SaliencyNetwork(build_backbone("test_vit", None), decoder)
    FinetuneDepth(depth).freeze(network)
    before = {name: value.clone() for name, value in network.backbone.named_parameters()}
    density = network(torch.rand(2, 3, 32, 48))
    assert density.shape == (2, 32, 48)
    (density * torch.rand(32, 48)).sum().backward()
    with torch.no_grad():
        for parameter in network.backbone.parameters():
            if parameter.grad is not None:
                parameter.sub_(parameter.grad)
    moved = {
        name.partition(".")[0]
        for name, value in network.backbone.named_parameters()
        if not torch.equal(value, before[name])
    }
    assert moved == {"all": {*STAGES}, "conv3": {*STAGES[2:]}, "none": set()}[depth]


def test_normalisation_layers_alone_may_learn() -> None:
    network = SaliencyNetwork(build_backbone("test_vit", None), ReadoutDecoder)
    FinetuneDepth("conv5", norm_only=True).freeze(network)
    learning = [n for n, p in network.backbone.named_parameters() if p.requires_grad]
    assert {name.rpartition(".")[0] for name in learning} == {
        *("conv5.blocks.0.norm1", "conv5.blocks.0.norm2", "conv5.norm"),
    }


@pytest.mark.parametrize("stage", ["conv1", "conv4"])
def test_a_field_is_the_whole_image(stage: str) -> None:
    network = build_backbone("test_vit", None)
    assert measure_geometry(network, stage) == FieldGeometry(None, (16, 16), (0, 0))


def test_a_stage_is_a_layer_that_returns_a_map() -> None:
    network = build_backbone("test_vit", None).eval()
    image = torch.rand(1, 3, 32, 48)
    features: dict[str, Tensor] = network(image)
    for stage, module in network.stages():
        assert torch.equal(forward_until(network, module)(image), features[stage])


@pytest.mark.parametrize("name", ["test_vit", "vit_small_patch16_dinov3"])
def test_random_weights_reach_every_token(name: str) -> None:
    network = build_backbone(name, None)
    fresh = untrained_copy(network, seed=0)
    assert not torch.equal(
        fresh.get_parameter("conv1.embedding.cls_token"),
        network.get_parameter("conv1.embedding.cls_token"),
    )


def test_a_transformer_of_fewer_than_five_blocks_is_refused() -> None:
    network: Any = timm.create_model("test_vit")
    network.blocks = network.blocks[:4]
    with pytest.raises(ValueError, match=r"toy cannot be cut .* it has 4 transformer blocks"):
        transformer_stages(network, "toy")


@pytest.mark.parametrize(
    ("name", "expected"), [("test_vit", True), ("vit_tiny_r_s16_p8_224", False), ("beit", False)]
)
def test_transformers_of_one_resolution_are_recognised(name: str, expected: bool) -> None:
    network = nn.Linear(1, 1) if name == "beit" else timm.create_model(name)
    assert is_transformer(network) is expected


@pytest.mark.parametrize("patch", [16, 14])
def test_noise_finds_the_mean_gradient_of_the_units_of_a_transformer(patch: int) -> None:
    torch.manual_seed(0)
    network = timm.create_model(
        "test_vit", patch_size=patch, dynamic_img_size=True, dynamic_img_pad=True
    )
    backbone = Backbone(transformer_stages(network, "toy"), name="toy")
    size = (4 * patch, 6 * patch)
    images = 0.4 + 0.2 * torch.rand(8, 3, *size)
    measured = reverse_correlation(
        backbone, ["conv2"], size, images, amplitude=0.01, pairs=256, target=0.999,
        cells={"conv2": [1]}, window=2 * patch,
    )["conv2"]  # fmt: skip
    patches = np.stack(np.meshgrid(range(8), range(1, 3), range(1, 5), indexing="ij"), -1)
    patches = patches.reshape(1, -1, 3).repeat(8, 0)
    gradients = map_receptive_fields(
        backbone, "conv2", images, patches, range(8), window=2 * patch
    ).field
    similarity = [
        np.corrcoef(a.ravel(), b.ravel())[0, 1]
        for a, b in zip(measured.field[:8], gradients, strict=True)
    ]
    noise = np.sqrt(np.median(measured.reliability))
    assert np.median(similarity) / noise == pytest.approx(1, abs=0.05)
