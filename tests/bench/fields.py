"""Units of a stage: our fields against the loops over Captum that people write."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import partial
from typing import Any

import numpy as np
import torch
from captum.attr import NeuronGradient
from torch import Tensor, nn
from torchvision.models import resnet50, vgg16

from deepsal.rf import FieldGeometry, ReceptiveFields, map_receptive_fields, measure_geometry
from deepsal.rf.arithmetic import full_precision
from tests.bench import whole_layer
from tests.bench.harness import Row, side_by_side

SIZES = ((224, 224), (480, 640))
LAYERS = {
    "vgg16": {
        "conv3": ("features.15", 256),
        "conv4": ("features.22", 512),
        "conv5": ("features.29", 512),
    },
    "resnet50": {"conv3": ("layer2", 512), "conv4": ("layer3", 256), "conv5": ("layer4", 128)},
}
"""Layers and how many units of each are asked: all of VGG16's, and of ResNet50's conv3."""
NETWORKS: dict[str, Callable[..., nn.Module]] = {"vgg16": vgg16, "resnet50": resnet50}
LOOPED = 16
"""Units of the loop; its time is extrapolated to all that are asked."""


def run(only: str, device: str = "cpu") -> Iterator[Row]:
    """Yield rows per backbone, stage and size: the loop, and a batch of whole images."""
    for backbone, layers in LAYERS.items():
        if not _asked(f"fields/{backbone}", only):
            continue
        torch.manual_seed(0)
        network = NETWORKS[backbone](weights=None).eval().requires_grad_(False).to(device)
        for stage, (name, units) in layers.items():
            title = f"fields/{backbone}/{stage}"
            if not _asked(title, only):
                continue
            known = measure_geometry(network, name)
            for size in SIZES:
                row = f"{title}/{'x'.join(str(side) for side in dict.fromkeys(size))}"
                if _asked(row, only):
                    yield from _rows(row, network, name, known, size, units)
            openerf = f"{title}/224/openerf"
            if backbone == "vgg16" and device == "cpu" and _asked(openerf, only):
                yield whole_layer.row(openerf, network, name, known)


def _asked(row: str, only: str) -> bool:
    """Tell whether a row, or one below it, is asked for."""
    return f"{row}/".startswith(f"{only}/") or f"{only}/".startswith(f"{row}/") or not only


def _rows(
    title: str,
    network: nn.Module,
    name: str,
    known: FieldGeometry,
    size: tuple[int, int],
    units: int,
) -> Iterator[Row]:
    like = next(network.parameters())
    image = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0)).to(like)
    with torch.no_grad():
        seen: list[Tensor] = []
        handle = network.get_submodule(name).register_forward_hook(
            lambda _module, _inputs, output: seen.append(output)
        )
        network(image)
        handle.remove()
    channels, height, width = seen[0].shape[1:]
    at = height // 2, width // 2
    patches = np.array([[[0, *at]]] * units)
    ours = partial(map_receptive_fields, network, name, image, patches, range(units), known)
    loop, batch = (partial(_whole, f, network, name, image, at) for f in (_loop, _batch))
    common: dict[str, Any] = {
        "scale": units / LOOPED,
        "repeats": 3 if max(size) < 300 else 1,
        "difference": partial(_difference, known=known, at=at),
        "units": units,
        "channels": channels,
    }
    exact = _exact(network, name, image, at, known)
    common["max_rel_diff_float64"] = exact
    said = (
        f"{units} of {channels} units, extrapolated from {LOOPED}; in float64, where no rounding "
        f"decides a rectifier, {exact:.0e} apart"
    )
    yield side_by_side(title, ours, loop, f"loop over Captum's NeuronGradient, {said}", **common)
    yield side_by_side(f"{title}/batch", ours, batch, f"Captum on whole images, {said}", **common)


def _exact(
    network: nn.Module, name: str, image: Tensor, at: tuple[int, int], known: FieldGeometry
) -> float:
    """Return the difference from the loop where both compute in float64 (fields are float32)."""
    double, wide = deepcopy(network).double(), image.double()
    ours = map_receptive_fields(
        double, name, wide, np.array([[[0, *at]]] * LOOPED), range(LOOPED), known
    )
    return _difference(ours, _loop(double, name, wide, at), known, at)


def _whole(
    read: Callable[[nn.Module, str, Tensor, tuple[int, int]], Tensor],
    network: nn.Module,
    name: str,
    image: Tensor,
    at: tuple[int, int],
) -> Tensor:
    """Return Captum's gradients on the host, computed in full float32 as ours are."""
    with full_precision(image.device.type):
        return read(network, name, image, at).cpu()


def _loop(network: nn.Module, name: str, image: Tensor, at: tuple[int, int]) -> Tensor:
    layer, before = _read(network, name)
    captum = NeuronGradient(network, layer)
    return torch.cat(
        [
            captum.attribute(
                image.clone().requires_grad_(), (u, *at), attribute_to_neuron_input=before
            ).detach()
            for u in range(LOOPED)
        ]
    )


def _batch(network: nn.Module, name: str, image: Tensor, at: tuple[int, int]) -> Tensor:
    layer, before = _read(network, name)
    index = torch.arange(LOOPED, device=image.device)
    found: Tensor = NeuronGradient(network, layer).attribute(
        image.repeat(LOOPED, 1, 1, 1).requires_grad_(),
        lambda output: output[index, index, at[0], at[1]],
        attribute_to_neuron_input=before,
    )
    return found.detach()


def _read(network: nn.Module, name: str) -> tuple[nn.Module, bool]:
    """Return the rectifier of a layer, to be read at its input."""
    layer = network.get_submodule(name)
    if isinstance(layer, nn.ReLU):
        return layer, True
    return layer.get_submodule(f"{len([*layer.children()]) - 1}.relu"), True


def _difference(
    ours: ReceptiveFields, whole: Tensor, known: FieldGeometry, at: tuple[int, int]
) -> float:
    """Return the largest difference on the fields' pixels, relative to the largest gradient."""
    size = ours.field.shape[-2:]
    assert known.size
    margin = max(known.size)
    padded = np.pad(whole.cpu().numpy(), ((0, 0), (0, 0), (margin, margin), (margin, margin)))
    top, left = (
        margin + at[a] * known.stride[a] - known.offset[a] + (known.size[a] - size[a]) // 2
        for a in (0, 1)
    )
    theirs = padded[:, :, top : top + size[0], left : left + size[1]]
    return float(np.abs(ours.field[:LOOPED] - theirs).max() / np.abs(theirs).max())
