"""Signed receptive fields of units, aligned on the units and averaged over patches."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from deepsal.rf.geometry import FieldGeometry, measure_geometry
from deepsal.rf.hooks import device_generator, temporary_eval_mode
from deepsal.rf.mapping.align import AlignedFieldSum
from deepsal.rf.mapping.crop import IndexArray
from deepsal.rf.mapping.field_extraction import GRADIENT_ENGINES, FieldExtraction
from deepsal.rf.mapping.methods import FIELD_METHODS
from deepsal.rf.measures.reliability import split_half_reliability

LARGEST_BLOCKS = 8


@dataclass(frozen=True)
class ReceptiveFields:
    """Receptive fields of some units of one layer.

    field: float32 (U, 3, h, w), the mean over patches, aligned on the unit; or (U, K, 3, h, w), one
    field per patch; NaN for a unit without a patch, and for no patch · units: (U,) channels ·
    patches: int (U, K, 3), (image, row, column) of each patch, −1 for no patch · centre: float32
    (U, K, 2), row and column of the field's centre in the image, pixels · activation: float32
    (U, K), before the rectifier, at each patch · count: (U,) patches of the unit · reliability:
    float64 (U,), expected correlation of the mean with one over as many other patches, by
    `split_half_reliability` of the blocks; NaN where it is unknown · blocks: float32
    (J, U, 3, h, w), means over J disjoint sets of each unit's patches, J even and at most eight,
    NaN for a unit with fewer patches; None without two patches of a unit, for one field per patch,
    and for stored fields.
    """

    field: NDArray[np.float32]
    units: NDArray[np.int64]
    patches: NDArray[np.int64]
    centre: NDArray[np.float32]
    activation: NDArray[np.float32]
    count: NDArray[np.int64]
    reliability: NDArray[np.float64]
    blocks: NDArray[np.float32] | None = None


def map_receptive_fields(
    network: nn.Module,
    name: str,
    images: Float[Tensor, "N 3 H W"],
    patches: NDArray[np.int64],
    units: Sequence[int],
    geometry: FieldGeometry | None = None,
    window: int | None = None,
    method: str = "gradient",
    samples: int = 32,
    pixels_per_pass: int | None = None,
    engine: str = "auto",
    average: bool = True,
) -> ReceptiveFields:
    """Map the receptive field of each unit, averaged over its patches, or on each of them.

    Each unit is read on the smallest crop in which it computes its value in the whole image; units
    that share a crop share a pass. `gradient`, the default, is the mean signed ∂z/∂image, z being
    the unit before its rectifier: a silent unit has one too, and a surround shows. `sta` and
    `integrated` keep the sign as well. `smooth` averages the gradient over noise too. `guided`,
    `deconv`, `occlusion`, `absolute_occlusion` and `erf` draw pictures that are no evidence of a
    surround. See `deepsal.rf.mapping.methods`.

    The network is read in eval mode and left unchanged. Pixels beyond an image count as 0, so an
    image smaller than the field shows that part of the field that lies in it.

    Args:
        network: any module that takes images like `images`.
        name: dotted name of the layer.
        images: the images that patches refer to (`deepsal.rf.patches` makes blank and noise).
        patches: (U, K, 3) of (image, row, column in the layer's output); −1 for none.
        units: U channels.
        geometry: of the layer; None: measure it.
        window: keep at most this many pixels a side around the unit (default: the whole field).
        method: one of `FIELD_METHODS`.
        samples: steps (integrated), noisy copies (smooth), pairs of noise images (sta) or squares
            hidden at a time (occlusion).
        pixels_per_pass: of crops per forward pass; None: as many as the device's memory has room
            for. If memory does not suffice, the passes become smaller.
        engine: of gradients: `windowed` (the least work, in many small operators), `batch` (Captum
            on a plain batch of crops) or `auto`: windowed on a CPU; on a GPU, which may wait for
            the small operators, the faster of both on the first crops.
        average: over patches; False: one field per patch, what the unit used there.

    Raises:
        ValueError: no such layer, unit, method, engine, image or place; a compiled network; a
            method that this network does not allow; or a crop that does not reproduce the full
            image's activation (the network is then not a function of the theoretical field).
        RuntimeError: memory does not suffice for one crop.
    """
    for option, value, choices in (
        ("method", method, FIELD_METHODS),
        ("engine", engine, GRADIENT_ENGINES),
    ):
        if value not in choices:
            raise ValueError(f"no {option} {value!r}; the {option}s are {list(choices)}")
    _validate(images, patches, units)
    images = images.to(next(network.parameters(), images))
    with temporary_eval_mode(network):
        images = images.clone() if images.is_inference() else images
        device_generator(images.device).manual_seed(0)
        geometry = geometry or measure_geometry(network, name)
        size = images.shape[-2], images.shape[-1]
        groups = _blocks(patches) if average else np.indices(patches.shape[:2])[1]
        aligned = AlignedFieldSum(geometry, size, patches.shape[:2], window, images.device, groups)
        extraction = FieldExtraction(
            network, name, images, units, patches, aligned, method, samples
        )
        extraction.run(pixels_per_pass, engine)
        means = aligned.means()
    present = patches[..., 0] >= 0
    centre = np.full((*present.shape, 2), np.nan, dtype=np.float32)
    centre[present] = aligned.window_centres(patches[present][:, 1:])
    unknown = np.full(len(units), np.nan)
    blocks = means.groups.swapaxes(0, 1) if average and means.groups.shape[1] > 1 else None
    return ReceptiveFields(
        field=means.field if average else means.groups,
        units=np.asarray(units),
        patches=patches,
        centre=centre,
        activation=means.activation,
        count=np.asarray(np.isfinite(means.activation).sum(1)),
        reliability=unknown if blocks is None else split_half_reliability(blocks),
        blocks=blocks,
    )


def _blocks(patches: NDArray[np.int64]) -> IndexArray:
    """Return the block of each patch, (U, K): a unit's patches take turns."""
    present = patches[..., 0] >= 0
    counts = present.sum(1)
    fewest = int(min(counts[counts > 1], default=1))
    return (np.cumsum(present, axis=1) - 1) % max(1, min(fewest, LARGEST_BLOCKS) // 2 * 2)


def _validate(images: Tensor, patches: NDArray[np.int64], units: Sequence[int]) -> None:
    if patches.ndim != 3 or patches.shape[::2] != (len(units), 3):
        raise ValueError(f"patches are {patches.shape}; they must be ({len(units)} units, K, 3)")
    present = patches[patches[..., 0] >= 0]
    wrong = (present < 0).any(1) | (present[:, 0] >= len(images))
    if wrong.any():
        raise ValueError(f"there is no patch {present[wrong][0].tolist()} in {len(images)} images")
