"""Measurements of networks that do not exist: planted fields in known noise."""

from collections.abc import Mapping, Sequence
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from deepsal.rf.claims.calibration import (
    CalibratedRule,
    calibrate_rule,
    draw_shapes,
    strongest_axis,
)
from deepsal.rf.claims.measurements import NetworkMeasurements, measure_stage
from deepsal.rf.claims.verdict import decide_claims
from deepsal.rf.geometry import FieldGeometry
from deepsal.rf.mapping.noise_fields import NoiseFields

SIDE = 13
UNITS = 24
NOISE = 0.02
"""Standard deviation of the noise of one sample in one block; the energy of a field is 1."""


decide_one_stage = partial(decide_claims, stages=["conv5"])
"""Claims on networks of a single stage, the first and the last at once."""


def planted(shapes: Sequence[str], seed: int, shift: float = 0.0) -> NDArray[np.float64]:
    """Return clean fields (U, 3, h, w) of given shapes, all of energy 1, about the middle."""
    random = np.random.default_rng(seed)
    fields = []
    for shape in shapes:
        place = SIDE / 2 - 0.5 + random.uniform(-1, 1, (1, 2)) + shift
        clean = draw_shapes(shape, place, random.uniform(1.0, 1.4, 1), (SIDE, SIDE), random)[0]
        fields.append(np.stack([clean] * 3) / np.sqrt(3 * np.square(clean).sum()))
    return np.array(fields)


def noisy_blocks(
    fields: NDArray[np.float64], seed: int, noise: float = NOISE
) -> NDArray[np.float32]:
    """Return eight noisy measurements of fields, (8, U, 3, h, w)."""
    random = np.random.default_rng([seed, 1])
    return (fields + noise * random.normal(size=(8, *fields.shape))).astype(np.float32)


def sampling(blocks: NDArray[np.float32], pairs: int = 1024) -> NoiseFields:
    return NoiseFields(
        field=blocks.mean(0),
        blocks=blocks,
        units=np.arange(blocks.shape[1]),
        reliability=np.ones(blocks.shape[1]),
        cell=4,
        step=2,
        origin=(-4, -4),
        geometry=FieldGeometry((17, 17), (8, 8), (0, 0)),
        pairs=pairs,
        positions=9,
        amplitude=0.1,
        gain=(1.0, 1.0, 1.0),
        background="natural",
        stopped="target",
        whole=True,
    )


@cache
def shared_rule(noise: float = NOISE) -> CalibratedRule:
    """Return the rule for fields of this size in this noise."""
    rule = calibrate_rule(strongest_axis(noisy_blocks(planted(["gaussian"] * 60, 7), 7, noise)))
    assert rule is not None
    return rule


def network(
    blocks: Mapping[str, NDArray[np.float32]],
    weight: float = 1.0,
    rule: CalibratedRule | None = None,
    **more: Any,
) -> NetworkMeasurements:
    """Return measurements of a network from blocks of its stages on natural images."""
    random = np.random.default_rng(0)
    units = {stage: [*range(of.shape[1])] for stage, of in blocks.items()}
    return NetworkMeasurements(
        fields={
            f"{stage}/natural": measure_stage(sampling(of), range(of.shape[1]), rule)
            for stage, of in blocks.items()
        },
        activations={s: random.normal(size=(90, 6)).astype(np.float32) for s in blocks},
        spread=dict.fromkeys(blocks, 1.0),
        weights={f"{stage}.weight": weight * torch.ones(2, 2) for stage in blocks},
        units=units,
        **more,
    )
