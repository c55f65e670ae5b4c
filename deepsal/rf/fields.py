"""What units respond to: signed receptive fields as mean gradients at the units themselves."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from captum.attr import NeuronGradient
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from deepsal.rf.crop import Crop, crop
from deepsal.rf.theory import Geometry
from deepsal.rf.theory import geometry as measured
from deepsal.rf.units import layer, rectifier, undisturbed, until

TOLERANCE = 1e-3
PIXELS = 8 * 192 * 256


@dataclass(frozen=True)
class Fields:
    """Receptive fields of some units of one layer.

    field: float32 (U, 3, h, w), the mean over patches of ∂z/∂image, z the unit's activation before
    its rectifier, aligned on the unit; NaN for a unit without a patch · units: (U,) channels ·
    patches: int (U, K, 3), (image, row, column) of each patch, −1 where there is none ·
    activation: float32 (U, K), z at each patch · count: (U,) patches averaged.
    """

    field: NDArray[np.float32]
    units: NDArray[np.int64]
    patches: NDArray[np.int64]
    activation: NDArray[np.float32]
    count: NDArray[np.int64]


def fields(
    network: nn.Module,
    name: str,
    images: Float[Tensor, "N 3 H W"],
    patches: NDArray[np.int64],
    units: Sequence[int],
    geometry: Geometry | None = None,
    window: int | None = None,
    pixels: int = PIXELS,
) -> Fields:
    """Return the mean signed gradient of each unit over its patches.

    Captum's `NeuronGradient` on a batch of (unit, patch) pairs, each an exact crop, stopped at the
    layer. Before the rectifier a silent unit has a gradient too, and the sign is kept: a
    surround shows (after a rectifier, or from absolute values, it cannot).

    Args:
        network: any module that takes images like `images`.
        name: dotted name of the layer.
        images: the images that patches refer to.
        patches: (U, K, 3) of (image, row, column in the layer's output); −1 for none.
        units: U channels.
        geometry: the layer's, if known (it is measured otherwise).
        window: keep at most this many pixels a side around the unit (default: the whole field).
        pixels: of crops per forward pass; more is faster on a GPU, lower it where memory is short.

    Raises:
        ValueError: no such layer or unit, or a crop that does not reproduce the full image's
            activation (the network is then not a function of the theoretical field).
    """
    module = layer(network, name)
    known = geometry or measured(network, name)
    height, width = images.shape[-2:]
    size = known.size or (height, width)
    sides = [min(r, n, window or n) for r, n in zip(size, (height, width), strict=True)]
    total = np.zeros((len(units), 3, *sides), dtype=np.float32)
    activation = np.full(patches.shape[:2], np.nan, dtype=np.float32)
    device = next(network.parameters()).device
    with undisturbed(network):
        engine = _Engine(network, module, images[:1].to(device))
        if not 0 <= min(units) <= max(units) < engine.channels:
            raise ValueError(f"{name} has units 0 … {engine.channels - 1}, not {max(units)}")
        todo = _by_shape(patches, known, (height, width))
        _check(engine, name, known, images.to(device), todo)
        for shape, places in todo.items():
            batch = max(1, pixels // (shape[0] * shape[1]))
            for start in range(0, len(places), batch):
                chunk = places[start : start + batch]
                crops = torch.stack([_cut(images, i, box) for _, _, i, box in chunk]).to(device)
                crops = crops.contiguous(memory_format=torch.channels_last)
                chosen = torch.tensor([units[u] for u, *_ in chunk], device=device)
                where = torch.tensor([box.unit for *_, box in chunk], device=device)
                gradient, values = engine(crops, chosen, where)
                for (u, k, _, box), g, z in zip(chunk, gradient, values, strict=True):
                    _add(total[u], g, box, known, patches[u, k, 1:].tolist())
                    activation[u, k] = z
    count = np.isfinite(activation).sum(1)
    with np.errstate(invalid="ignore"):
        mean = total / count[:, None, None, None].astype(np.float32)
    return Fields(mean, np.asarray(units), patches, activation, count)


class _Engine:
    """Captum on a batch of crops, each probed at a unit of its own."""

    def __init__(self, network: nn.Module, module: nn.Module, image: Tensor) -> None:
        self.run = until(network, module)
        self.rectified = rectifier(network, module, image)
        self.captum = NeuronGradient(self.run, self.rectified or module)
        with torch.no_grad():
            self.channels = self.run(image).shape[1]

    def __call__(
        self, crops: Tensor, units: Tensor, where: Tensor
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return ∂z/∂crop (B, 3, h, w) and z (B,)."""
        seen: list[Tensor] = []

        def select(output: Tensor) -> Tensor:
            index = torch.arange(len(output), device=output.device)
            chosen: Tensor = output[index, units, where[:, 0], where[:, 1]]
            seen.append(chosen.detach())
            return chosen

        gradient = self.captum.attribute(
            crops.requires_grad_(),
            neuron_selector=select,
            attribute_to_neuron_input=self.rectified is not None,
        )
        return gradient.detach().cpu().numpy(), seen[-1].cpu().numpy()


Place = tuple[int, int, int, Crop]
"""(position among the units, position among its patches, image, crop)."""


def _by_shape(
    patches: NDArray[np.int64], geometry: Geometry, image: tuple[int, int]
) -> dict[tuple[int, int], list[Place]]:
    todo: dict[tuple[int, int], list[Place]] = defaultdict(list)
    for u, k, i, row, column in _valid(patches):
        box = crop(geometry, image, (row, column))
        todo[box.bottom - box.top, box.right - box.left].append((u, k, i, box))
    return todo


def _valid(patches: NDArray[np.int64]) -> Iterator[tuple[int, int, int, int, int]]:
    for u, of_unit in enumerate(patches.tolist()):
        for k, (i, row, column) in enumerate(of_unit):
            if i >= 0:
                yield u, k, i, row, column


def _cut(images: Tensor, i: int, box: Crop) -> Tensor:
    return images[i, :, box.top : box.bottom, box.left : box.right]


def _check(
    engine: _Engine,
    name: str,
    geometry: Geometry,
    images: Tensor,
    todo: dict[tuple[int, int], list[Place]],
) -> None:
    for shape, places in todo.items():
        if shape == tuple(images.shape[-2:]):
            continue
        _, _, i, box = places[0]
        with torch.no_grad():
            row, column = box.unit
            first = box.top // geometry.stride[0], box.left // geometry.stride[1]
            whole = engine.run(images[i : i + 1])[0, :, row + first[0], column + first[1]]
            piece = engine.run(_cut(images, i, box)[None])[0, :, row, column]
        if (whole - piece).abs().max() > TOLERANCE * whole.abs().max():
            raise ValueError(
                f"a crop does not reproduce {name} of the full image: the network looks beyond its "
                "theoretical field; give images of a size that its strides divide"
            )


def _add(
    total: NDArray[np.float32],
    gradient: NDArray[np.float32],
    box: Crop,
    geometry: Geometry,
    unit: Sequence[int],
) -> None:
    """Add a crop's gradient to the window around the unit's own field; 0 beyond the image."""
    source: list[slice] = []
    target: list[slice] = []
    for axis, (start, end) in enumerate(((box.top, box.bottom), (box.left, box.right))):
        window, stride = total.shape[axis + 1], geometry.stride[axis]
        size = geometry.size[axis] if geometry.size else window
        offset = geometry.offset[axis] if geometry.size else (window - stride) // 2
        first = unit[axis] * stride - offset + (size - window) // 2
        a, b = max(first, start), min(first + window, end)
        source.append(slice(a - start, b - start))
        target.append(slice(a - first, b - first))
    total[:, target[0], target[1]] += gradient[:, source[0], source[1]]
