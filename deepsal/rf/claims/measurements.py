"""All measures of the units of one network, layer by layer.

Shapes: U units of a layer, C channels of it, h × w pixels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
from deepsal.rf.geometry import FieldGeometry, measure_geometry
from deepsal.rf.hooks import temporary_eval_mode
from deepsal.rf.mapping.gradient_fields import map_receptive_fields
from deepsal.rf.measures.profile import FloatArray, field_extent
from deepsal.rf.measures.similarity import sample_activations
from deepsal.rf.measures.summary import field_measures
from deepsal.rf.patches import centred_patches
from deepsal.rf.tuning.battery import record_responses
from deepsal.rf.tuning.indices import tuning_indices

CLAMP_VALUES = (0.5, 3.0)
"""Smallest and largest clamp value of figure 4.6 of He & Pugeault 2018."""


@dataclass(frozen=True)
class PatternMeasurements:
    """Back-projected patterns of units of the last layer, and the responses to them."""

    units: list[int]
    """Channels of the U units."""
    pattern: NDArray[np.float32]
    """(U, 3, h, w), back-projected from a clamp at c = 3."""
    spread: FloatArray
    """(U,), the extent of the pattern at c = 3 over that at c = 0.5."""
    reinjected_responses: FloatArray
    """(U, C), responses of all pooled units to each pattern at the contrast of the images. The
    contrast is matched because c does not say how strong a pattern is as an image."""
    reference_responses: dict[str, FloatArray]
    """`{image: (U, C)}`, responses to the images of `reinjection.reference_responses`."""


@dataclass(frozen=True)
class NetworkMeasurements:
    """Measures of units of some layers of one network, one row per unit."""

    field: dict[str, NDArray[np.float32]]
    """`{layer: (U, 3, h, w)}`, mean signed gradient over all images."""
    half_fields: dict[str, NDArray[np.float32]]
    """`{layer: (2, U, 3, h, w)}`, the same over each half of the images."""
    measures: dict[str, dict[str, FloatArray]]
    """`{layer: {measure: (U,)}}`, of `field_measures` and `tuning_indices`."""
    activations: dict[str, NDArray[np.float32]]
    """`{layer: (n, C)}`, samples for `linear_cka`."""
    weights: dict[str, Tensor]
    """State dict on the CPU."""
    units: dict[str, list[int]]
    """`{layer: channels}`."""
    patterns: PatternMeasurements | None = None
    """None where the back-projection is not defined (the network is no chain)."""


def measure_network(
    network: nn.Module,
    units: Mapping[str, Sequence[int]],
    images: Float[Tensor, "N 3 H W"],
    geometry: Mapping[str, FieldGeometry] | None = None,
    window: int | None = 129,
    chain: Sequence[nn.Module] | None = None,
) -> NetworkMeasurements:
    """Measure units of some layers of a network in every way that `decide_claims` needs.

    Fields are mapped in the middle of the same images for every network, so that two networks can
    be compared unit by unit.

    Args:
        network: any module that takes RGB images in [0, 1].
        units: `{layer: channels}`.
        images: (N, 3, H, W), two or more. Models are fitted to the fields of one half of them and
            tested on those of the other.
        geometry: geometries of layers; those of other layers are measured.
        window: side of a field, pixels; None for the whole theoretical field.
        chain: modules of the same network from the image to the pooling after the last layer, if
            the network is a chain, for `clamp_backprojection`.

    Raises:
        ValueError: there are fewer than two images; and the errors of `map_receptive_fields`,
            `record_responses` and `clamp_backprojection`.
    """
    if len(images) < 2:
        raise ValueError(f"{len(images)} images cannot be halved; give two or more")
    size = images.shape[-2], images.shape[-1]
    measured = {
        name: (geometry or {}).get(name) or measure_geometry(network, name) for name in units
    }
    responses = record_responses(network, [*units], size, measured)
    fields, half_fields, measures = {}, {}, {}
    for name, channels in units.items():
        halves = [
            map_receptive_fields(
                network,
                name,
                half,
                centred_patches(len(channels), len(half), measured[name], size),
                channels,
                measured[name],
                window,
            )
            for half in (images[::2], images[1::2])
        ]
        half_fields[name] = np.stack([half.field for half in halves])
        counts = np.array([half.count for half in halves], np.float32)[..., None, None, None]
        fields[name] = (half_fields[name] * counts).sum(0) / counts.sum(0)
        indices = tuning_indices(responses[name])
        measures[name] = field_measures(fields[name], measured[name], half_fields[name])
        measures[name] |= {key: values[[*channels]] for key, values in indices.items()}
    last = [*[*units.values()][-1]]
    return NetworkMeasurements(
        field=fields,
        half_fields=half_fields,
        measures=measures,
        activations=sample_activations(network, [*units], images),
        weights={key: value.detach().cpu().clone() for key, value in network.state_dict().items()},
        units={name: [*channels] for name, channels in units.items()},
        patterns=None if chain is None else _measure_patterns(network, chain, last, images),
    )


def _measure_patterns(
    network: nn.Module, chain: Sequence[nn.Module], units: list[int], images: Tensor
) -> PatternMeasurements:
    small, pattern = (clamp_backprojection(chain, units, value) for value in CLAMP_VALUES)
    with np.errstate(invalid="ignore"):  # NaN for a unit with an empty pattern
        spread = field_extent(pattern) / field_extent(small)
    pooled = nn.Sequential(*chain)
    image = scale_to_contrast(pattern, _input_contrast(network, chain, images))
    return PatternMeasurements(
        units=units,
        pattern=pattern,
        spread=spread,
        reinjected_responses=pooled_activation(pooled, image),
        reference_responses=reference_responses(pooled, image),
    )


def _input_contrast(network: nn.Module, chain: Sequence[nn.Module], images: Tensor) -> float:
    """Return the standard deviation of the input of the chain when the network reads images."""
    inputs: list[Tensor] = []
    hook = chain[0].register_forward_pre_hook(lambda _module, args: inputs.append(args[0]))
    try:
        with temporary_eval_mode(network), torch.no_grad():
            network(images.to(next(network.parameters())))
    finally:
        hook.remove()
    return float(inputs[0].std())
