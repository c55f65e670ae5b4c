"""Fields of a run's stages measured with the same noise at every checkpoint, and their change.

Letters in shapes: U watched units, h and w samples of a field, N images of H × W pixels.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from deepsal.rf import store
from deepsal.rf.geometry import FieldGeometry
from deepsal.rf.mapping.noise_fields import (
    NoiseFields,
    NoiseMeasurement,
    interpolate_to_pixels,
)
from deepsal.rf.mapping.reverse_correlation import MID_GREY, reverse_correlation
from deepsal.rf.measures.profile import FloatArray
from deepsal.rf.measures.reliability import MIN_RELIABILITY, corrected_similarity
from deepsal.rf.measures.summary import measures_with_errors, watched_measures

REVERSE_CORRELATION = "reverse_correlation"
NOISE_SOURCES = ("natural", "grey")
"""Backgrounds of the noise: the first validation images, and grey."""
NATURAL_IMAGES = 64
"""Number of images that are backgrounds."""


class PairedNoiseMapper:
    """Measures stages with noise at checkpoints; the first one decides on cells and pairs.

    Equal noise at all checkpoints: what differs between two fields is the network.

    Args:
        sources: of `NOISE_SOURCES`.
        target: median reliability at which a stage stops.
        pairs: largest number of pairs of noise images per stage and source.
        window: side of a field, pixels.
    """

    def __init__(self, sources: Sequence[str], target: float, pairs: int, window: int) -> None:
        self.sources, self.target, self.pairs, self.window = sources, target, pairs, window
        self.sampling: dict[str, NoiseMeasurement] = {}

    def resume(self, first: Path, stages: Sequence[str]) -> None:
        """Load the first checkpoint of a resumed run.

        Args:
            first: its file of fields.
            stages: that were measured.
        """
        for entry in (f"{stage}/{source}" for stage in stages for source in self.sources):
            self.sampling[entry] = store.load_noise_fields(first, entry)

    def measure(
        self,
        network: nn.Module,
        images: Float[Tensor, "N 3 H W"],
        geometry: Mapping[str, FieldGeometry],
    ) -> dict[str, NoiseFields]:
        """Measure all units of all stages on each background.

        Args:
            network: has the stages in its `backbone`.
            images: backgrounds of the source `natural`, values 0 to 1.
            geometry: of each stage.

        Returns:
            `{"conv4/natural": fields}`.
        """
        layers = {f"backbone.{stage}": stage for stage in geometry}
        fields: dict[str, NoiseFields] = {}
        for source in self.sources:
            repeat = {
                layer: self.sampling[f"{stage}/{source}"]
                for layer, stage in layers.items()
                if f"{stage}/{source}" in self.sampling
            }
            measured = reverse_correlation(
                network,
                [*layers],
                (images.shape[2], images.shape[3]),
                images if source == "natural" else MID_GREY,
                target=self.target,
                pairs=self.pairs,
                window=self.window,
                known={layer: geometry[stage] for layer, stage in layers.items()},
                repeat=repeat or None,
            )
            fields |= {f"{stage}/{source}": measured[layer] for layer, stage in layers.items()}
        for entry, of in fields.items():
            self.sampling.setdefault(entry, of)
        return fields


def noise_change_measures(
    fields: NoiseFields, units: Sequence[int], start_blocks: NDArray[np.float32]
) -> dict[str, FloatArray]:
    """Measure fields, and their correlation with the first field corrected for noise.

    The models that give k are fitted nine times per unit for its error: 1.5 s for 16 units with
    fields of 129 px, about 30 s for the 320 units of a deep stage (two busy cores). So only
    watched units are measured.

    Args:
        fields: of this checkpoint.
        units: U watched units.
        start_blocks: (J, U, 3, h, w), blocks of their first fields.

    Returns:
        `{measure: (U,)}`: `reliability`; `correlation`, corrected for noise, with its standard
        error `correlation_error`, as measured, `correlation_raw`, and the noise ceiling of
        that, `correlation_ceiling` (see `corrected_similarity` in
        `deepsal.rf.measures.reliability`); and the other measures with error and bias, such as
        `extent_error` and `extent_bias` (see `measures_with_errors` in
        `deepsal.rf.measures.summary`). Where the reliability is below .3 all but
        the first and the last two of the correlations are NaN: not determined.
    """
    reliability, blocks = fields.reliability[list(units)], fields.blocks[:, list(units)]
    raw, corrected, ceiling = corrected_similarity(start_blocks, blocks)
    measure = partial(watched_measures, geometry=fields.geometry)
    measures = measures_with_errors(interpolate_to_pixels(blocks, fields.step), measure)
    determined = reliability >= MIN_RELIABILITY
    return {
        **{name: np.where(determined, of, np.nan) for name, of in measures.items()},
        "reliability": reliability,
        "correlation": corrected.value,
        "correlation_error": corrected.error,
        "correlation_raw": raw.value,
        "correlation_ceiling": ceiling,
    }
