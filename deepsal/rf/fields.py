"""What units respond to: signed receptive fields, aligned on the units and averaged."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from deepsal.rf.align import Aligned, Place
from deepsal.rf.crop import Crop, crop
from deepsal.rf.lean import wanted
from deepsal.rf.methods import METHODS
from deepsal.rf.probe import Probe, Question
from deepsal.rf.theory import Geometry
from deepsal.rf.theory import geometry as measured
from deepsal.rf.units import generator, undisturbed
from deepsal.rf.windowed import Box

TOLERANCE = {torch.bfloat16: 0.05, torch.float16: 0.01}
PIXELS = 16 * 192 * 256
REPEATING = {"integrated", "smooth"}
"""Methods of which Captum makes `samples` copies of a batch."""


@dataclass(frozen=True)
class Fields:
    """Receptive fields of some units of one layer.

    field: float32 (U, 3, h, w), the mean over patches, aligned on the unit; NaN for a unit without
    a patch · units: (U,) channels · patches: int (U, K, 3), (image, row, column) of each patch, −1
    where there is none · centre: float32 (U, K, 2), row and column of the field's centre in the
    image, pixels · activation: float32 (U, K), before the rectifier, at each patch · count: (U,)
    patches averaged · component: float32 (U, C, 3, h, w), the leading directions in which the
    field varies over patches (unit vectors) · variance: float32 (U, C) along them.
    """

    field: NDArray[np.float32]
    units: NDArray[np.int64]
    patches: NDArray[np.int64]
    centre: NDArray[np.float32]
    activation: NDArray[np.float32]
    count: NDArray[np.int64]
    component: NDArray[np.float32]
    variance: NDArray[np.float32]


def fields(
    network: nn.Module,
    name: str,
    images: Float[Tensor, "N 3 H W"],
    patches: NDArray[np.int64],
    units: Sequence[int],
    geometry: Geometry | None = None,
    window: int | None = None,
    method: str = "gradient",
    samples: int = 32,
    components: int = 0,
    pixels: int = PIXELS,
) -> Fields:
    """Return what each unit responds to, averaged over its patches.

    Each unit is asked on the smallest crop in which it does what it does in the whole image, on
    all the units of one crop at once. `gradient`, the default, is the mean signed ∂z/∂image, z
    being the unit before its rectifier: a silent unit has one too, and a surround shows. `sta`
    and `integrated` keep the sign as well; `guided`, `deconv`, `occlusion`, `absolute_occlusion`
    and `erf` make pictures that must not be read as evidence of a surround; `smooth` averages the
    gradient over noise too. See `deepsal.rf.methods`.

    The network is put in eval mode and left as it was. Pixels beyond an image count as 0, so an
    image smaller than the field shows that part of the field that lies in it.

    Args:
        network: any module that takes images like `images`.
        name: dotted name of the layer.
        images: the images that patches refer to (`deepsal.rf.sources` makes blank and noise).
        patches: (U, K, 3) of (image, row, column in the layer's output); −1 for none.
        units: U channels.
        geometry: the layer's, if known (it is measured otherwise).
        window: keep at most this many pixels a side around the unit (default: the whole field).
        method: one of `METHODS`.
        samples: steps (integrated), noisy copies (smooth), pairs of noise images (sta) or squares
            hidden at a time (occlusion).
        components: leading components of the covariance over patches to keep.
        pixels: of crops per forward pass; more is faster on a GPU, lower it where memory is short.

    Raises:
        ValueError: no such layer, unit, method, image or place; a compiled network; a method that
            this network does not allow; or a crop that does not reproduce the full image's
            activation (the network is then not a function of the theoretical field).
    """
    if method not in METHODS:
        raise ValueError(f"no method {method!r}; the methods are {list(METHODS)}")
    _validate(images, patches, units)
    images = images.to(next(network.parameters(), images))
    with undisturbed(network):
        images = images.clone() if images.is_inference() else images
        generator(images.device).manual_seed(0)
        known = geometry or measured(network, name)
        size = images.shape[-2], images.shape[-1]
        aligned = Aligned(known, size, patches.shape[:2], window, components > 0)
        copies = samples if method in REPEATING else 1
        chunks = [*_chunks(patches, known, size, pixels // copies)]
        first = chunks[0][0].crop if chunks else Crop(0, *size[:1], 0, *size[1:], (0, 0))
        probe = Probe(
            network, name, images[:1, :, first.top : first.bottom, first.left : first.right]
        )
        if wrong := [unit for unit in units if not 0 <= unit < probe.channels]:
            raise ValueError(f"{name} has units 0 … {probe.channels - 1}, not {wrong}")
        ask = _Asker(probe, images, list(units), aligned, samples)
        for places in chunks:
            answer = METHODS[method](probe, ask(places))
            values = answer.field.float().cpu().numpy()
            for place, value, z in zip(places, values, answer.activation.tolist(), strict=True):
                aligned.add(place, value, answer.box, z)
    return Fields(
        aligned.mean(),
        np.asarray(units),
        patches,
        aligned.centre,
        aligned.activation,
        aligned.count(),
        *aligned.components(components),
    )


def _validate(images: Tensor, patches: NDArray[np.int64], units: Sequence[int]) -> None:
    if patches.ndim != 3 or patches.shape[::2] != (len(units), 3):
        raise ValueError(f"patches are {patches.shape}; they must be ({len(units)} units, K, 3)")
    there = patches[patches[..., 0] >= 0]
    wrong = (there < 0).any(1) | (there[:, 0] >= len(images))
    if wrong.any():
        raise ValueError(f"there is no patch {there[wrong][0].tolist()} in {len(images)} images")


def _chunks(
    patches: NDArray[np.int64], geometry: Geometry, image: tuple[int, int], pixels: int
) -> Iterator[list[Place]]:
    """Yield places that are asked together: all on one crop, or each on its own."""
    crops: dict[tuple[int, ...], list[Place]] = defaultdict(list)
    for u, of_unit in enumerate(patches.tolist()):
        for k, (i, row, column) in enumerate(of_unit):
            if i >= 0:
                box = crop(geometry, image, (row, column))
                crops[i, *box[:4]].append(Place(u, k, i, box, (row, column)))
    single: dict[tuple[int, int], list[Place]] = defaultdict(list)
    for places in crops.values():
        box = places[0].crop
        shape = box.bottom - box.top, box.right - box.left
        if len(places) == 1:
            single[shape] += places
        else:
            yield from _cut(sorted(places, key=lambda place: place.at), shape, pixels)
    for shape, places in single.items():
        yield from _cut(places, shape, pixels)


def _cut(places: list[Place], shape: tuple[int, int], pixels: int) -> Iterator[list[Place]]:
    batch = max(1, pixels // (shape[0] * shape[1]))
    for start in range(0, len(places), batch):
        yield places[start : start + batch]


class _Asker:
    """Turns places into a question, and checks once per shape that crops are exact."""

    def __init__(
        self, probe: Probe, images: Tensor, units: list[int], aligned: Aligned, samples: int
    ) -> None:
        self.probe = probe
        self.images = images
        self.units = units
        self.aligned = aligned
        self.samples = samples
        self.needed: dict[tuple[int, ...], list[Box]] = {}
        self.shapes: dict[torch.Size, torch.Size] = {}

    def __call__(self, places: list[Place]) -> Question:
        first = places[0]
        if len({(place.image, *place.crop[:4]) for place in places}) == 1:
            crops = self._piece(first).expand(len(places), -1, -1, -1)
        else:
            crops = torch.cat([self._piece(place) for place in places])
            crops = crops.contiguous(memory_format=self.probe.layout)
        if crops.shape[-2:] not in self.shapes:
            self._check(first)
        self._in_range(places)
        device = self.images.device
        units = torch.tensor([self.units[place.unit] for place in places], device=device)
        where = torch.tensor([place.crop.unit for place in places], device=device)
        return Question(crops, units, where, self._needed(places, crops), self.samples)

    def _piece(self, place: Place) -> Tensor:
        box = place.crop
        piece = self.images[place.image, None, :, box.top : box.bottom, box.left : box.right]
        return piece.contiguous(memory_format=self.probe.layout)

    def _needed(self, places: list[Place], crops: Tensor) -> list[Box] | None:
        whole = Box(0, crops.shape[2], 0, crops.shape[3])
        windows = [self.aligned.window(place).within(whole) for place in places]
        tops, bottoms, lefts, rights = zip(*windows, strict=True)
        union = Box(min(tops), max(bottoms), min(lefts), max(rights))
        if union == whole:
            return None
        key = *crops.shape[2:], *union
        if key not in self.needed:
            self.needed[key] = wanted(self.probe, crops[:1], union)
        return self.needed[key]

    def _check(self, place: Place) -> None:
        """Compare a crop's activations, beside another crop, with those in nine times its area."""
        stride, box = self.aligned.geometry.stride, place.crop
        height, width = box.bottom - box.top, box.right - box.left
        top = max(0, (box.top - height) // stride[0] * stride[0])  # keeps the strides' phase
        left = max(0, (box.left - width) // stride[1] * stride[1])
        around = self.images[
            place.image, None, :, top : box.bottom + height, left : box.right + width
        ]
        (row, column), piece = box.unit, self._piece(place)
        with torch.no_grad():
            small = self.probe.activation(torch.cat([piece, piece + 1]))[0]
            large = self.probe.activation(around)[0]
        self.shapes[piece.shape[-2:]] = small.shape[-2:]
        self._in_range([place])
        small, large = (
            small[:, row, column],
            large[:, place.at[0] - top // stride[0], place.at[1] - left // stride[1]],
        )
        if (small - large).abs().max() > TOLERANCE.get(large.dtype, 1e-3) * large.abs().max():
            raise ValueError(
                f"a crop does not reproduce {self.probe.name} of the full image: the network looks "
                "beyond its theoretical field, or mixes images (batch norm without running "
                "statistics); give images of a size that its strides divide"
            )

    def _in_range(self, places: list[Place]) -> None:
        box = places[0].crop
        height, width = self.shapes[torch.Size((box.bottom - box.top, box.right - box.left))]
        for place in places:
            if place.crop.unit[0] >= height or place.crop.unit[1] >= width:
                raise ValueError(
                    f"the patch {[place.image, *place.at]} (image, row, column) lies outside "
                    f"{self.probe.name} of images of {tuple(self.images.shape[-2:])}"
                )
