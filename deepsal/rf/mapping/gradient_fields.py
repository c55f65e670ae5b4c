"""What units respond to: signed receptive fields, aligned on the units and averaged."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from deepsal.rf.geometry import FieldGeometry
from deepsal.rf.geometry import measure_geometry as measured
from deepsal.rf.hooks import device_generator, temporary_eval_mode
from deepsal.rf.mapping.align import AlignedFieldSum
from deepsal.rf.mapping.extraction import GRADIENT_ENGINES, FieldExtraction
from deepsal.rf.mapping.methods import FIELD_METHODS


@dataclass(frozen=True)
class ReceptiveFields:
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
    components: int = 0,
    pixels: int | None = None,
    engine: str = "auto",
) -> ReceptiveFields:
    """Return what each unit responds to, averaged over its patches.

    Each unit is asked on the smallest crop in which it does what it does in the whole image, on
    all the units of one crop at once. `gradient`, the default, is the mean signed ∂z/∂image, z
    being the unit before its rectifier: a silent unit has one too, and a surround shows. `sta`
    and `integrated` keep the sign as well; `guided`, `deconv`, `occlusion`, `absolute_occlusion`
    and `erf` make pictures that must not be read as evidence of a surround; `smooth` averages the
    gradient over noise too. See `deepsal.rf.mapping.methods`.

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
        pixels: of crops per forward pass; None: what the device's memory has room for. Where memory
            does not suffice, the passes become smaller.
        engine: of gradients: `windowed` (the least work, in many small operators), `batch` (Captum
            on a plain batch of crops) or `auto`: windowed on a CPU; on a GPU, which may wait for
            the small operators, the one that was faster when both were timed on the first crops.

    Raises:
        ValueError: no such layer, unit, method, engine, image or place; a compiled network; a
            method that this network does not allow; or a crop that does not reproduce the full
            image's activation (the network is then not a function of the theoretical field).
        RuntimeError: memory does not suffice for one crop.
    """
    for option, given, known in (
        ("method", method, FIELD_METHODS),
        ("engine", engine, GRADIENT_ENGINES),
    ):
        if given not in known:
            raise ValueError(f"no {option} {given!r}; the {option}s are {list(known)}")
    _validate(images, patches, units)
    images = images.to(next(network.parameters(), images))
    with temporary_eval_mode(network):
        images = images.clone() if images.is_inference() else images
        device_generator(images.device).manual_seed(0)
        known_geometry = geometry or measured(network, name)
        size = images.shape[-2], images.shape[-1]
        aligned = AlignedFieldSum(
            known_geometry, size, patches.shape[:2], window, components > 0, images.device
        )
        extraction = FieldExtraction(
            network, name, images, units, patches, aligned, method, samples
        )
        extraction.run(pixels, engine)
        activation = aligned.activation.cpu().numpy()
    there = patches[..., 0] >= 0
    centre = np.full((*there.shape, 2), np.nan, dtype=np.float32)
    centre[there] = aligned.centre(patches[there][:, 1:])
    return ReceptiveFields(
        aligned.mean(),
        np.asarray(units),
        patches,
        centre,
        activation,
        np.asarray(np.isfinite(activation).sum(1)),
        *aligned.components(components),
    )


def _validate(images: Tensor, patches: NDArray[np.int64], units: Sequence[int]) -> None:
    if patches.ndim != 3 or patches.shape[::2] != (len(units), 3):
        raise ValueError(f"patches are {patches.shape}; they must be ({len(units)} units, K, 3)")
    there = patches[patches[..., 0] >= 0]
    wrong = (there < 0).any(1) | (there[:, 0] >= len(images))
    if wrong.any():
        raise ValueError(f"there is no patch {there[wrong][0].tolist()} in {len(images)} images")
