"""All channels of a stage: our fields against the loops over Captum that people write."""

import gc
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from captum.attr import NeuronGradient
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models import resnet50, vgg16

from deepsal.rf import Geometry, fields, geometry
from tests.bench.harness import Row, side_by_side

SIZES = ((224, 224), (480, 640))
LAYERS = {
    "vgg16": {"conv3": "features.15", "conv4": "features.22", "conv5": "features.29"},
    "resnet50": {"conv3": "layer2", "conv4": "layer3", "conv5": "layer4"},
}
NETWORKS: dict[str, Callable[..., nn.Module]] = {"vgg16": vgg16, "resnet50": resnet50}
LOOPED = 16
"""Units of the loop; its time is extrapolated to all channels."""


def run() -> list[Row]:
    """Return two rows per backbone, stage and size: the loop, and a batch of whole images."""
    rows = []
    for backbone, layers in LAYERS.items():
        torch.manual_seed(0)
        network = NETWORKS[backbone](weights=None).eval().requires_grad_(False)
        for stage, name in layers.items():
            known = geometry(network, name)
            for size in SIZES:
                where = "x".join(str(side) for side in dict.fromkeys(size))
                rows += _rows(f"fields/{backbone}/{stage}/{where}", network, name, known, size)
    return rows


def _rows(
    title: str, network: nn.Module, name: str, known: Geometry, size: tuple[int, int]
) -> list[Row]:
    image = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        seen: list[Tensor] = []
        handle = network.get_submodule(name).register_forward_hook(
            lambda _module, _inputs, output: seen.append(output)
        )
        network(image)
        handle.remove()
    channels, height, width = seen[0].shape[1:]
    at = height // 2, width // 2
    patches = np.array([[[0, *at]]] * channels)
    ours = partial(fields, network, name, image, patches, range(channels), known)
    loop, batch = (partial(f, network, name, image, at) for f in (_loop, _batch))
    common: dict[str, Any] = {
        "scale": channels / LOOPED,
        "repeats": 3 if max(size) < 300 else 1,
        "max_rel_diff": _difference(ours().field[:LOOPED], loop(), known, at),
        "ours_peak_mb": _peak(ours),
        "reference_peak_mb": _peak(loop),
        "channels": channels,
    }
    said = f"extrapolated from {LOOPED} of {channels} units"
    return [
        side_by_side(title, ours, loop, f"loop over Captum's NeuronGradient, {said}", **common),
        side_by_side(f"{title}/batch", ours, batch, f"Captum on whole images, {said}", **common),
    ]


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
    index = torch.arange(LOOPED)
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
    ours: NDArray[np.float32], whole: Tensor, known: Geometry, at: tuple[int, int]
) -> float:
    """Return the largest difference on the fields' pixels, relative to the largest gradient."""
    size, image = ours.shape[-2:], whole.shape[-2:]
    assert known.size
    margin = max(known.size)
    padded = np.pad(whole.numpy(), ((0, 0), (0, 0), (margin, margin), (margin, margin)))
    top, left = (
        margin + at[a] * known.stride[a] - known.offset[a] + (known.size[a] - size[a]) // 2
        for a in (0, 1)
    )
    assert min(image) > 0
    theirs = padded[:, :, top : top + size[0], left : left + size[1]]
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def _peak(run: Callable[[], object]) -> float:
    """Return the peak of resident memory above its level before, in MB; NaN off Linux."""
    status, reset = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not reset.exists():
        return math.nan

    def read(key: str) -> int:
        line = next(x for x in status.read_text().splitlines() if x.startswith(key))
        return int(line.split()[1])

    gc.collect()
    before = read("VmRSS")
    reset.write_text("5")
    run()
    return (read("VmHWM") - before) / 1024
