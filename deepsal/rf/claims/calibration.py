"""Rule for centre-surround units, calibrated on shapes planted in the noise of a stage's fields.

Letters in shapes: J blocks, U units, P planted fields, h and w samples of a field.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.ndimage import gaussian_filter

from deepsal.rf.mapping.cell_noise import COLOUR_DIRECTIONS
from deepsal.rf.measures.centre import locate_centre
from deepsal.rf.measures.fit import fit_field_models
from deepsal.rf.measures.profile import FloatArray
from deepsal.rf.measures.reliability import MIN_RELIABILITY, split_half_reliability
from deepsal.rf.measures.shape import centre_surround_index

RIVAL_SHAPES = ("gaussian", "gabor", "noise")
"""Planted shapes that are not centre-surround; `noise` is a field that repeats and has no shape."""
PLANTED_SURROUNDS = (0.3, 0.55, 0.9)
"""Volume ratios k of planted surrounds."""
FALSE_ALARM_RATE = 0.05
MIN_POWER = 0.8
DECISIVE_SURROUND = 0.55
"""The k that must be found with `MIN_POWER` where a verdict says that units are not so."""
SURROUND_WIDTHS = 1.7, 3.2
"""Least and largest width of a planted surround, in widths of its centre."""
SIDE_MARGIN = 0.2
"""Part of a field at each side in which no centre is planted."""


@dataclass(frozen=True)
class AxisFields:
    """Fields of units on the colour axis on which each is strongest: luminance or an opponent one.

    The axis is the one with the most energy that repeats between blocks, so noise has no say.
    """

    blocks: NDArray[np.float64]
    """(J, U, h, w)."""
    axis: NDArray[np.int64]
    """(U,): 0 luminance, 1 red–green, 2 yellow–blue."""
    energy: FloatArray
    """(U,): energy without that of the noise, ≥ 0."""
    reliability: FloatArray
    """(U,): on this axis; NaN for a silent unit."""

    @property
    def reliable(self) -> NDArray[np.bool_]:
        """Units with a field that can be judged, (U,)."""
        return (np.nan_to_num(self.reliability) >= MIN_RELIABILITY) & (self.energy > 0)


@dataclass(frozen=True)
class CalibratedRule:
    """Threshold on `centre_surround_evidence`, and how often it errs at one stage of one network.

    The threshold is set by the rival shape that comes nearest to it, so that with a probability of
    .8 at most 5 % of that shape lie above. The rates are of other plantings than those that set it.
    """

    threshold: float
    false_alarms: dict[str, float]
    """Share of each of `RIVAL_SHAPES` that is called centre-surround."""
    power: dict[str, float]
    """Share of planted centre-surround fields that is found, by k: `{"0.55": …}`."""
    plantings: int
    """Fields per shape behind each rate."""
    room: float
    """Share of the reliable units whose field has room for a surround of mean width: four of its
    deviations, at most the field's side. Without it more pairs give no power; larger images do."""

    @property
    def false_alarm_rate(self) -> float:
        """The highest rate among the rival shapes."""
        return max(self.false_alarms.values())

    @property
    def decisive_power(self) -> float:
        """Power for k = .55."""
        return self.power[str(DECISIVE_SURROUND)]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def strongest_axis(blocks: NDArray[np.floating[Any]]) -> AxisFields:
    """Read each unit's field on the colour axis on which it is strongest.

    Args:
        blocks: (J, U, 3, h, w), fields of blocks in red, green and blue.

    >>> blocks = np.zeros((8, 1, 3, 5, 5))
    >>> blocks[:, 0, 0, 2, 2], blocks[:, 0, 1, 2, 2] = 1, -1
    >>> strongest_axis(blocks).axis.tolist()
    [1]
    """
    count = len(blocks)
    by_axis = np.einsum("jucyx,ac->ajuyx", blocks.astype(np.float64), COLOUR_DIRECTIONS)
    total = np.square(by_axis.mean(1)).sum((2, 3))
    own = np.square(by_axis).sum((1, 3, 4)) / count**2
    energy = (total - own) * count / (count - 1)
    axis = np.where(np.isfinite(energy), energy, -np.inf).argmax(0)
    units = np.arange(blocks.shape[1])
    chosen = by_axis[axis, :, units].swapaxes(0, 1)
    return AxisFields(
        chosen,
        axis,
        np.maximum(np.nan_to_num(energy[axis, units]), 0),
        split_half_reliability(chosen),
    )


def centre_surround_evidence(field: FloatArray) -> FloatArray:
    """Return the evidence that each field is centre-surround, (U,) ≥ 0; NaN without a field.

    CSI · max(log(SSE of the better of Gaussian and Gabor / SSE of the difference of Gaussians), 0):
    round with both signs, *and* better described by two Gaussians than by its rivals. Of six
    statistics it had the most power, or nearly so, at 5 % of false alarms: planted k = .3/.55/.9 in
    the noise of EfficientNet-Lite0's conv4 were found with .35/.80/.95 on natural images and
    .79/.99/1.00 on grey. CSI alone gave .12/.51/.95 and .17/.81/1.00, the gain in AICc
    .40/.74/.94 and .82/.99/1.00 (`experiments/planted/rules.py`).

    Args:
        field: (U, h, w).
    """
    evidence = np.full(len(field), np.nan)
    usable = np.isfinite(field).all((1, 2)) & (np.ptp(field, axis=(1, 2)) > 0)
    if usable.any():
        w = field[usable]
        left = 1 - fit_field_models(w).r2
        with np.errstate(divide="ignore", invalid="ignore"):
            gain = np.log(np.fmin(left[:, 0], left[:, 2]) / left[:, 1])
        gain = np.nan_to_num(gain, nan=0.0, posinf=50.0)  # a fit that failed is no evidence
        evidence[usable] = centre_surround_index(w) * np.maximum(gain, 0)
    return evidence


def calibrate_rule(
    fields: AxisFields, plantings: int = 200, seed: int = 0
) -> CalibratedRule | None:
    """Calibrate the rule on shapes planted in the noise of a stage's own fields.

    Args:
        fields: of all units of the stage.
        plantings: fields per rival shape that set the threshold; half as many give each rate.
        seed: of the plantings.

    Returns:
        None where no unit is reliable.
    """
    if not fields.reliable.any():
        return None
    random = np.random.default_rng(seed)
    rivals = {
        shape: centre_surround_evidence(plant_fields(shape, fields, plantings, random))
        for shape in RIVAL_SHAPES
    }
    above = max(0, int(stats.binom.ppf(0.2, plantings, FALSE_ALARM_RATE)) - 1)
    threshold = max(float(np.sort(evidence)[-1 - above]) for evidence in rivals.values())
    tested = {*RIVAL_SHAPES, *map(str, PLANTED_SURROUNDS)}
    count = max(1, plantings // 2)
    rates = {
        shape: float(
            (
                centre_surround_evidence(plant_fields(shape, fields, count, random)) > threshold
            ).mean()
        )
        for shape in sorted(tested)
    }
    return CalibratedRule(
        threshold,
        {shape: rates[shape] for shape in RIVAL_SHAPES},
        {str(k): rates[str(k)] for k in PLANTED_SURROUNDS},
        count,
        _room(fields),
    )


def _room(fields: AxisFields) -> float:
    """Return the share of reliable units whose field has room for a surround."""
    mean = fields.blocks.mean(0)[fields.reliable]
    surround = np.mean(SURROUND_WIDTHS) * locate_centre(mean)[1]
    return float((4 * surround <= min(mean.shape[1:])).mean())


def plant_fields(
    shape: str, fields: AxisFields, count: int, random: np.random.Generator
) -> FloatArray:
    """Return fields of a known shape in the noise of a stage, (P, h, w).

    Each planted field takes the place of a reliable unit: its energy is that unit's without the
    noise, its width and place are those of that unit's strongest blob. Its noise is the sum of that
    unit's block residuals (block minus mean, scaled by √(J/(J − 1))) under random signs.

    Args:
        shape: of `RIVAL_SHAPES`, or the k of a surround such as "0.55".
        fields: of the stage.
        count: P.
        random: generator.
    """
    units = random.choice(np.flatnonzero(fields.reliable), count)
    blocks = fields.blocks[:, units]
    mean, j = blocks.mean(0), len(blocks)
    signs = random.choice([-1.0, 1.0], (j, count, 1, 1))
    noise = ((blocks - mean) * signs).mean(0) * np.sqrt(j / (j - 1))
    place, size, _ = locate_centre(mean)
    sides = np.array(mean.shape[1:])
    place = np.clip(place, SIDE_MARGIN * (sides - 1), (1 - SIDE_MARGIN) * (sides - 1))
    clean = draw_shapes(shape, place, size, mean.shape[1:], random)
    norm = np.sqrt(np.square(clean).sum((1, 2)))
    return np.asarray(clean * (np.sqrt(fields.energy[units]) / norm)[:, None, None] + noise)


def draw_shapes(
    shape: str,
    place: FloatArray,
    size: FloatArray,
    sides: Sequence[int],
    random: np.random.Generator,
) -> FloatArray:
    """Draw a shape at places (P, 2) with widths (P,), in samples, of random sign: (P, h, w).

    Surrounds are as wide as `SURROUND_WIDTHS` say. Gabors have .15 to .35 cycles per width
    and any phase and orientation. `noise` is smoothed by the width; its envelope is twice as wide.
    """
    column = (len(size), 1, 1)
    dy = np.arange(sides[0])[:, None] - place[:, 0].reshape(column)
    dx = np.arange(sides[1]) - place[:, 1].reshape(column)
    width = size.reshape(column)
    square = np.square(dy) + np.square(dx)
    centre = np.exp(-square / 2 / width**2)
    if shape == "gaussian":
        drawn = centre
    elif shape == "gabor":
        angle, phase = random.uniform(0, 2 * np.pi, (2, *column))
        frequency = random.uniform(0.15, 0.35, column) / width
        aspect = random.uniform(0.8, 1.6, column)
        along = np.cos(angle) * dx + np.sin(angle) * dy
        across = np.cos(angle) * dy - np.sin(angle) * dx
        envelope = np.exp(-np.square(along / width) / 2 - np.square(across / width / aspect) / 2)
        drawn = envelope * np.cos(2 * np.pi * frequency * along + phase)
    elif shape == "noise":
        white = random.normal(size=square.shape)
        smooth = [gaussian_filter(w, s, mode="wrap") for w, s in zip(white, size, strict=True)]
        drawn = np.stack(smooth) * np.exp(-square / 8 / width**2)
    else:
        ratio = random.uniform(*SURROUND_WIDTHS, column)
        drawn = centre - float(shape) / ratio**2 * np.exp(-square / 2 / (ratio * width) ** 2)
    return np.asarray(drawn * random.choice([-1.0, 1.0], column))
