"""All measures of the units of one network, stage by stage.

Shapes: U units of a stage, C channels of it, h × w samples of a field or pixels of a pattern.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields

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
from deepsal.rf.claims.calibration import (
    CalibratedRule,
    calibrate_rule,
    centre_surround_evidence,
    strongest_axis,
)
from deepsal.rf.geometry import FieldGeometry, measure_geometry
from deepsal.rf.hooks import temporary_eval_mode
from deepsal.rf.mapping.noise_fields import NoiseFields, NoiseMeasurement
from deepsal.rf.mapping.reverse_correlation import MID_GREY, reverse_correlation
from deepsal.rf.measures.centre import locate_centre
from deepsal.rf.measures.fit import fit_field_models
from deepsal.rf.measures.profile import FloatArray, field_extent
from deepsal.rf.measures.reliability import split_half_reliability
from deepsal.rf.measures.shape import centre_surround_index
from deepsal.rf.measures.similarity import sample_activations
from deepsal.rf.tuning.grating_indices import responsive_suppression, size_tuning_indices
from deepsal.rf.tuning.grating_protocol import SHORT_PROTOCOL, GratingProtocol
from deepsal.rf.tuning.grating_responses import record_grating_responses

LOG = logging.getLogger(__name__)
BACKGROUNDS = ("natural", "grey")
"""Of the noise: images, or grey."""
MIN_K, MAX_K = -1.0, 1.5
"""Volume ratios beyond which a fit has failed (`MAX_VOLUME_RATIO`, and a skirt as large as the
centre)."""
CLAMP_VALUES = (0.5, 3.0)
"""Smallest and largest clamp value of figure 4.6 of He & Pugeault 2018."""
PATTERN_UNITS = 64
"""Most units whose patterns are measured: the first ones, as many as He & Pugeault 2018 draw."""


@dataclass(frozen=True)
class PatternMeasurements:
    """Back-projected patterns of units of a stage, pooled, and the responses to them (P5)."""

    units: list[int]
    """Channels of the U units."""
    pattern: NDArray[np.float32]
    """(U, 3, h, w), back-projected from a clamp at c = 3."""
    reinjected_responses: FloatArray
    """(U, C), responses of all pooled units to each pattern at the contrast of the images. The
    contrast is matched because c does not say how strong a pattern is as an image."""
    reference_responses: dict[str, FloatArray]
    """`{image: (U, C)}`, responses to the images of `reinjection.reference_responses`."""


@dataclass(frozen=True, kw_only=True)
class StageMeasurements(NoiseMeasurement):
    """Noise fields of units of one stage on one background, and what they say."""

    blocks: NDArray[np.float32]
    """(8, U, 3, h, w): fields from eight independent samples of noise and images."""
    measures: dict[str, FloatArray]
    """`{measure: (U,)}`: csi, k, polarity (±1), row and column (centre of the measured field from
    the theoretical centre, pixels), axis (0 luminance, 1 red–green, 2 yellow–blue: fields are read
    on their strongest axis) and centre_surround (1 or 0 by `rule`). NaN where the field on this
    axis has a reliability below .3."""
    rule: CalibratedRule | None
    """Of this stage and network; None where it was not asked for, or no unit is reliable."""


@dataclass(frozen=True)
class NetworkMeasurements:
    """Measures of units of some stages of one network, one row per unit."""

    fields: dict[str, StageMeasurements]
    """`{"conv4/natural": …}`: per stage and background."""
    activations: dict[str, NDArray[np.float32]]
    """`{stage: (n, C)}`, samples for `debiased_cka`."""
    spread: dict[str, float]
    """`{stage: …}`: standard deviation of a unit's output over images and positions, median over
    units. A stage of spread 0 is dead."""
    weights: dict[str, Tensor]
    """State dict on the CPU."""
    units: dict[str, list[int]]
    """`{stage: channels}`."""
    tuning: dict[str, dict[str, FloatArray]] = field(default_factory=dict)
    """`{stage: {index: (U,)}}` of `responsive_suppression`; empty where it was not asked for."""
    patterns: dict[str, PatternMeasurements] = field(default_factory=dict)
    """`{stage: …}`; empty where the back-projection is not defined (the network is no chain)."""
    pattern_spread: dict[str, FloatArray] = field(default_factory=dict)
    """`{stage: (U,)}`: the extent of a unit's pattern at c = 3 over that at c = 0.5 (P4)."""


def measure_network(
    network: nn.Module,
    units: Mapping[str, Sequence[int]],
    images: Float[Tensor, "N 3 H W"],
    geometry: Mapping[str, FieldGeometry] | None = None,
    window: int | None = None,
    chain: Sequence[nn.Module] | None = None,
    pairs: int = 1024,
    target: float = 0.9,
    shaped: Sequence[str] = (),
    protocol: GratingProtocol | None = SHORT_PROTOCOL,
    plantings: int = 200,
    repeat: NetworkMeasurements | None = None,
    seed: int = 0,
    backgrounds: Sequence[str] = BACKGROUNDS,
    mapped: Sequence[str] | None = None,
    reinjected: Sequence[str] | None = None,
    widened: Sequence[str] | None = None,
) -> NetworkMeasurements:
    """Measure units of some stages of a network in every way that `decide_claims` needs.

    Fields come from `reverse_correlation` on images (`natural`) and on grey (`grey`).

    Args:
        network: any module that takes RGB images in [0, 1].
        units: `{stage: channels}`.
        images: (N, 3, H, W). With eight or more, reliability covers the choice of images.
        geometry: geometries of stages; those of other stages are measured.
        window: largest side of a field, pixels; None: as `reverse_correlation` chooses.
        chain: the stages of the same network, from the image on, and the pooling after the last
            one, if the network is a chain, for `clamp_backprojection`.
        pairs: largest number of pairs of noise images per stage and background.
        target: median reliability at which a stage stops.
        shaped: stages whose units are judged as centre-surround or not: the rule is calibrated
            there.
        protocol: of size tuning, which is measured where there are shaped stages; None to leave it
            out.
        plantings: of `calibrate_rule`.
        repeat: the first network's measurements: its cells, pairs and noise are used again, so
            that two networks differ in nothing else.
        seed: of the noise and of the plantings.
        backgrounds: of the noise; none to leave out fields and samples of activations.
        mapped: stages whose fields are measured; None for all.
        reinjected: stages of a chain whose patterns, and responses to them, are measured; None for
            all.
        widened: stages of a chain whose patterns are compared at two clamp values; None for all.

    Raises:
        ValueError: the errors of `reverse_correlation`, `record_grating_responses` and
            `clamp_backprojection`.
    """
    size = images.shape[-2], images.shape[-1]
    mapped = [*(units if mapped is None else mapped)] if backgrounds else []
    of_gratings = [*units] if shaped and protocol else []  # windows on the first ones save time
    known = {
        name: (geometry or {}).get(name) or measure_geometry(network, name)
        for name in units
        if name in {*mapped, *of_gratings}
    }
    measured: dict[str, StageMeasurements] = {}
    shown: dict[str, Tensor | float] = {"natural": images, "grey": MID_GREY}
    for background in backgrounds:
        LOG.info("  noise on %s", background)
        earlier: dict[str, NoiseMeasurement] | None = None
        if repeat:
            earlier = {name: repeat.fields[f"{name}/{background}"] for name in mapped}
        noise_fields = reverse_correlation(
            network,
            mapped,
            size,
            shown[background],
            target=target,
            pairs=pairs,
            seed=seed,
            window=window,
            known=known,
            repeat=earlier,
        )
        for name, of in noise_fields.items():
            rule = None
            if name in shaped:
                chosen = strongest_axis(of.blocks[:, [*units[name]]])
                rule = calibrate_rule(chosen, plantings, seed)
            measured[f"{name}/{background}"] = measure_stage(of, units[name], rule)
    responses = {}
    if of_gratings:
        responses = record_grating_responses(network, of_gratings, protocol, geometry=known)
    outputs = sample_activations(network, mapped, images) if mapped else {}
    chains = {name: _chain_to(network, name, chain) for name in units} if chain else {}
    clamped = {name: [*channels][:PATTERN_UNITS] for name, channels in units.items()}
    return NetworkMeasurements(
        fields=measured,
        activations=outputs,
        spread={name: float(np.median(z.std(0))) for name, z in outputs.items()},
        weights=weights_on_cpu(network),
        units={name: [*channels] for name, channels in units.items()},
        tuning={
            name: {key: values[[*units[name]]] for key, values in suppression.items()}
            for name, gratings in responses.items()
            for suppression in [responsive_suppression(size_tuning_indices(gratings))]
        },
        patterns={
            name: _measure_patterns(network, of_stage, clamped[name], images)
            for name, of_stage in chains.items()
            if reinjected is None or name in reinjected
        },
        pattern_spread={
            name: _pattern_spread(of_stage, clamped[name])
            for name, of_stage in chains.items()
            if widened is None or name in widened
        },
    )


def weights_on_cpu(network: nn.Module) -> dict[str, Tensor]:
    """Return a copy of the state dict of a network."""
    return {key: value.detach().cpu().clone() for key, value in network.state_dict().items()}


def measure_stage(
    sampling: NoiseFields, units: Sequence[int], rule: CalibratedRule | None = None
) -> StageMeasurements:
    """Measure the noise fields of units of one stage, each about its own measured centre.

    Args:
        sampling: of all units of the stage.
        units: U channels to measure.
        rule: for units that are centre-surround; None to leave that out.
    """
    chosen = np.array(units)
    blocks = sampling.blocks[:, chosen]
    axis = strongest_axis(blocks)
    mean = np.where(axis.reliable[:, None, None], axis.blocks.mean(0), np.nan)
    place, _, polarity = locate_centre(mean)
    geometry, origin = sampling.geometry, np.array(sampling.origin)
    theoretical = (np.array(geometry.size or (0, 0)) - 1) / 2 - geometry.offset
    measures = {
        "csi": centre_surround_index(mean),
        "polarity": polarity,
        "row": origin[0] + place[:, 0] * sampling.step - theoretical[0],
        "column": origin[1] + place[:, 1] * sampling.step - theoretical[1],
        "axis": np.where(axis.reliable, axis.axis, np.nan),
    }
    if rule:
        evidence = centre_surround_evidence(mean)
        called = (evidence > rule.threshold).astype(np.float64)
        measures["centre_surround"] = np.where(axis.reliable, called, np.nan)
        k = fit_field_models(mean).k
        measures["k"] = np.where((k >= MIN_K) & (k <= MAX_K), k, np.nan)
    description = {of.name: getattr(sampling, of.name) for of in fields(NoiseMeasurement)}
    return StageMeasurements(
        **{**description, "reliability": split_half_reliability(blocks), "units": chosen},
        blocks=blocks,
        measures={key: np.asarray(values, np.float64) for key, values in measures.items()},
        rule=rule,
    )


def _chain_to(network: nn.Module, stage: str, chain: Sequence[nn.Module]) -> list[nn.Module]:
    """Return the part of a chain up to a stage, and the last pooling in the place of its own."""
    end = [*chain].index(network.get_submodule(stage)) + 1
    return [*chain[:end], chain[-1]]


def _measure_patterns(
    network: nn.Module, chain: Sequence[nn.Module], units: list[int], images: Tensor
) -> PatternMeasurements:
    pattern = clamp_backprojection(chain, units, CLAMP_VALUES[1])
    pooled = nn.Sequential(*chain)
    image = scale_to_contrast(pattern, _input_contrast(network, chain, images))
    return PatternMeasurements(
        units=units,
        pattern=pattern,
        reinjected_responses=pooled_activation(pooled, image),
        reference_responses=reference_responses(pooled, image),
    )


def _pattern_spread(chain: Sequence[nn.Module], units: list[int]) -> FloatArray:
    small, large = (
        field_extent(clamp_backprojection(chain, units, value)) for value in CLAMP_VALUES
    )
    with np.errstate(invalid="ignore"):  # NaN for a unit with an empty pattern
        return np.asarray(large / small)


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
