"""What the units of a network are like, layer by layer: all measures of one network, one call."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from deepsal.rf.backprojection.clamp import clamp_backprojection
from deepsal.rf.backprojection.reinjection import (
    pooled_activation,
    reference_responses,
    scale_to_contrast,
)
from deepsal.rf.geometry import FieldGeometry
from deepsal.rf.geometry import measure_geometry as measured
from deepsal.rf.hooks import temporary_eval_mode
from deepsal.rf.mapping.gradient_fields import ReceptiveFields, map_receptive_fields
from deepsal.rf.measures import profile
from deepsal.rf.measures.profile import FloatArray
from deepsal.rf.measures.similarity import sample_activations
from deepsal.rf.measures.summary import field_measures
from deepsal.rf.patches import centred_patches
from deepsal.rf.tuning.battery import record_responses
from deepsal.rf.tuning.indices import tuning_indices

CLAMP_VALUES = (0.5, 3.0)
"""Of the clamp, the ends of figure 4.6 of He & Pugeault 2018."""


@dataclass(frozen=True)
class NetworkMeasurements:
    """The units of some layers of one network; every array has one row per unit.

    field: `{layer: (U, 3, h, w)}`, mean signed gradient over all images · half: the same over each
    half of the images, (2, U, 3, h, w) · measures: `{layer: {measure: (U,)}}` · activation:
    `{layer: (n, channels)}` for `cka` · weights: the state dict, on the CPU · pattern: (U, 3, h, w)
    of the last layer's clamp at c = 3 · spread: (U,), a pattern's width at c = 3 over 0.5 ·
    reinjected: (U, channels), what all pooled units answer to each pattern at the images' contrast,
    since c says nothing of how strong an image it is · control: the same to
    `reinject.controls`; the last four are None where the clamp is not defined.
    """

    field: dict[str, NDArray[np.float32]]
    half: dict[str, NDArray[np.float32]]
    measures: dict[str, dict[str, FloatArray]]
    activation: dict[str, NDArray[np.float32]]
    weights: dict[str, Tensor]
    units: dict[str, list[int]]
    pattern: NDArray[np.float32] | None = None
    spread: FloatArray | None = None
    reinjected: FloatArray | None = None
    control: dict[str, FloatArray] | None = None


def measure_network(
    network: nn.Module,
    units: Mapping[str, Sequence[int]],
    images: Float[Tensor, "N 3 H W"],
    geometry: Mapping[str, FieldGeometry] | None = None,
    window: int | None = 129,
    chain: Sequence[nn.Module] | None = None,
) -> NetworkMeasurements:
    """Measure units of some layers in every way that the verdict needs.

    Fields are read in the middle of the same images whatever the network, so that two portraits
    can be compared unit by unit.

    Args:
        network: any module that takes RGB images in [0, 1].
        units: `{layer: channels}`.
        images: two or more; half of them fit a field's shape and the other half test it.
        geometry: of the layers, as far as known.
        window: side of a field, pixels.
        chain: the same network's modules from the image to the last layer's pooling, if it is a
            chain, for `clamp`.

    Raises:
        ValueError: fewer than two images, or as `fields`, `probe` and `clamp` do.
    """
    if len(images) < 2:
        raise ValueError(f"{len(images)} images cannot be halved; give two or more")
    known = {name: (geometry or {}).get(name) or measured(network, name) for name in units}
    size = images.shape[-2], images.shape[-1]
    shown = record_responses(network, [*units], size, known)
    whole, half, measures = {}, {}, {}
    for name, channels in units.items():
        found = [
            map_receptive_fields(
                network,
                name,
                part,
                centred_patches(len(channels), len(part), known[name], size),
                channels,
                known[name],
                window,
            )
            for part in (images[::2], images[1::2])
        ]
        half[name] = np.stack([f.field for f in found])
        whole[name] = _weighted_mean(found)
        measures[name] = field_measures(whole[name], known[name], half[name])
        curves = tuning_indices(shown[name])
        measures[name] |= {key: values[[*channels]] for key, values in curves.items()}
    weights = {key: value.detach().cpu().clone() for key, value in network.state_dict().items()}
    made = NetworkMeasurements(
        whole,
        half,
        measures,
        sample_activations(network, [*units], images),
        weights,
        {name: [*channels] for name, channels in units.items()},
    )
    if chain is None:
        return made
    last = made.units[[*units][-1]]
    small, pattern = (clamp_backprojection(chain, last, value) for value in CLAMP_VALUES)
    with np.errstate(invalid="ignore"):  # NaN for a unit that draws nothing
        spread = profile.field_extent(pattern) / profile.field_extent(small)
    pooled, image = (
        nn.Sequential(*chain),
        scale_to_contrast(pattern, _input_contrast(network, chain, images)),
    )
    return replace(
        made,
        pattern=pattern,
        spread=spread,
        reinjected=pooled_activation(pooled, image),
        control=reference_responses(pooled, image),
    )


def _input_contrast(network: nn.Module, chain: Sequence[nn.Module], images: Tensor) -> float:
    """Return the standard deviation of what the chain is given when the network sees images."""
    seen: list[Tensor] = []
    hook = chain[0].register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    try:
        with temporary_eval_mode(network), torch.no_grad():
            network(images.to(next(network.parameters())))
    finally:
        hook.remove()
    return float(seen[0].std())


def _weighted_mean(parts: Sequence[ReceptiveFields]) -> NDArray[np.float32]:
    counts = np.array([part.count for part in parts], dtype=np.float32)[:, :, None, None, None]
    total = sum(part.field * count for part, count in zip(parts, counts, strict=True))
    return np.asarray(total / counts.sum(0))
