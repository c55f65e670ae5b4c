"""Receptive fields measured with noise: as measured, with blocks, and as a file holds them.

Letters in shapes: U units (channels), h and w samples of a field, H and W its pixels.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from deepsal.rf.geometry import FieldGeometry
from deepsal.rf.mapping.cell_search import StopReason
from deepsal.rf.measures.reliability import standard_error
from deepsal.statistics import finite_median

NOISE_FIELD_BYTES = 64 * 2**20
"""Largest size of the fields measured with noise in one file for which all units are stored."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoiseMeasurement:
    """Description of a measurement with noise: units, reliability, sampling and effort.

    Sample (i, j) of the field of the unit at row v and column u of the layer's map lies at the
    image's pixel (v·stride + origin + i·step, u·stride + origin + j·step), strides and origins of
    the two axes.
    """

    units: NDArray[np.int64]
    """(U,): channels."""
    reliability: NDArray[np.float64]
    """(U,): expected correlation with a second measurement like this one; NaN for a silent unit."""
    cell: int
    """Side of a noise cell in pixels."""
    step: int
    """Pixels between samples."""
    origin: tuple[int, int]
    """Pixel of sample (0, 0) of the unit (0, 0)."""
    pairs: int
    """Pairs of noise images x + n, x − n."""
    positions: int
    """Positions averaged in each pair."""
    amplitude: float
    """Standard deviation of the noise of one colour, in units of the image, before clipping."""
    gain: tuple[float, float, float]
    """Part of the noise of red, green and blue that clipping left; fields are corrected for it."""
    background: str
    """`grey` or `images`."""
    stopped: StopReason
    """Why: the target was reached, the budget was spent, or no unit responded."""
    whole: bool
    """Whether fields are whole: false where the image cuts them, or `window` does."""

    @property
    def median(self) -> float:
        """Median reliability of the units that respond; NaN if none does."""
        return finite_median(self.reliability)


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoiseFields(NoiseMeasurement):
    """Receptive fields of all units of one layer, measured with noise."""

    field: NDArray[np.float32]
    """(U, 3, h, w): mean ∂z/∂pixel of red, green and blue, z the unit before its rectifier.

    It is blurred by the noise's grain: each sample is an average with triangular weights that reach
    one cell to each side.
    """
    blocks: NDArray[np.float32]
    """(8, U, 3, h, w): the same from eight independent samples; `field` is their mean."""
    geometry: FieldGeometry
    """Of the layer."""

    @property
    def stderr(self) -> NDArray[np.float64]:
        """Standard error of `field` from the blocks, (U, 3, h, w)."""
        return standard_error(self.blocks)


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoredNoiseFields(NoiseMeasurement):
    """Fields measured with noise, in the form that a file holds: without the blocks.

    In the file, `field` and `stderr` are float16 in parts of the unit's largest value. A value
    that is read differs from the measured one by at most 1/2048 of it, or 3e-8 of the largest.
    """

    field: NDArray[np.float32]
    """(U, 3, h, w), of `NoiseFields`."""
    stderr: NDArray[np.float32]
    """(U, 3, h, w), its standard error."""

    def select(self, units: Sequence[int]) -> "StoredNoiseFields":
        """Return the fields of some units, in this order.

        Raises:
            ValueError: a unit is not stored.
        """
        stored = self.units.tolist()
        if missing := [unit for unit in units if unit not in stored]:
            raise ValueError(f"no fields of the units {missing} are stored, only of {stored}")
        rows = [stored.index(unit) for unit in units]
        arrays = {name: getattr(self, name)[rows] for name in NOISE_ARRAYS}
        return dataclasses.replace(self, **arrays)

    def at_pixels(self) -> NDArray[np.float32]:
        """Return the field at every pixel between the first and the last sample, (U, 3, H, W)."""
        return interpolate_to_pixels(self.field, self.step)


NOISE_ARRAYS = ("field", "stderr", "units", "reliability")


def stored_noise_fields(
    fields: Mapping[str, NoiseFields],
    watched: Mapping[str, Sequence[int]],
    limit: int = NOISE_FIELD_BYTES,
) -> dict[str, StoredNoiseFields]:
    """Return measured fields in the form that a file holds.

    Args:
        fields: `{"conv4/natural": fields}`.
        watched: `{"conv4/natural": units}`; only these are stored if all units exceed the limit.
        limit: bytes of all entries together.
    """
    names = [m.name for m in dataclasses.fields(StoredNoiseFields) if m.name != "stderr"]
    stored = {
        entry: StoredNoiseFields(
            **{name: getattr(of, name) for name in names}, stderr=of.stderr.astype(np.float32)
        )
        for entry, of in fields.items()
    }
    if sum(2 * 2 * of.field.size for of in stored.values()) > limit:
        return {entry: of.select(watched[entry]) for entry, of in stored.items()}
    return stored


def interpolate_to_pixels(field: NDArray[np.float32], step: int) -> NDArray[np.float32]:
    """Return fields (..., h, w) at every pixel between the first and the last sample, (..., H, W).

    Linear between samples, as the noise's cells have blurred it.

    Args:
        field: of any number of axes, the last two samples.
        step: pixels between samples.

    >>> interpolate_to_pixels(np.float32([[0, 2]]), 2).tolist()
    [[0.0, 1.0, 2.0]]
    """
    rows, columns = (_interpolation(n, step) for n in field.shape[-2:])
    return np.asarray(rows @ field @ columns.T, np.float32)


def _interpolation(samples: int, step: int) -> NDArray[np.float32]:
    """Return the weights of samples at each pixel between the first and the last, (P, samples)."""
    distance = np.abs(np.arange((samples - 1) * step + 1)[:, None] / step - np.arange(samples))
    return np.asarray(np.maximum(0, 1 - distance), np.float32)
