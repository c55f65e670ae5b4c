"""Comparison of the layers of a network with macaque V1: size tuning and preferred frequency."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from deepsal.rf.geometry import FieldGeometry
from deepsal.rf.measures.profile import FloatArray
from deepsal.rf.tuning.grating_indices import (
    SizeTuningIndices,
    mean_over_images,
    size_tuning_indices,
)
from deepsal.rf.tuning.grating_protocol import GratingProtocol
from deepsal.rf.tuning.grating_responses import record_grating_responses
from deepsal.rf.tuning.macaque_v1 import CELL_HISTOGRAMS, bin_counts, v1_similarity
from deepsal.rf.tuning.size_tuning import SUPPRESSED
from deepsal.statistics import Interval, bootstrap_interval


@dataclass(frozen=True)
class LayerComparison:
    """The tuned units of one layer against macaque V1."""

    tuning: SizeTuningIndices
    """Indices of all units, rectified."""
    unrectified: SizeTuningIndices
    """The same before the rectifier."""
    compared: NDArray[np.bool_]
    """(U,), whether a unit is compared with V1."""
    similarity: dict[str, Interval]
    """`{index: similarity}`, of `CELL_HISTOGRAMS`; see `v1_similarity`."""

    def values(self, name: str) -> FloatArray:
        """Return an index of the units that are compared."""
        return self.tuning.index[name][self.compared]

    def as_json(self) -> dict[str, Any]:
        """Return counts, histograms, similarities, and indices of all units as plain values."""
        index, error = self.tuning.index, self.tuning.error
        responsive = self.tuning.responsive
        return {
            "units": len(responsive),
            "silent": self.tuning.silent,
            "responsive": int(responsive.sum()),
            "compared": int(self.compared.sum()),
            "counts": {
                name: bin_counts(self.values(name), name).tolist() for name in self.similarity
            },
            "similarity": {name: value._asdict() for name, value in self.similarity.items()},
            "values": {name: values.tolist() for name, values in index.items()},
            "median": {name: _median(values[responsive]) for name, values in index.items()},
            "error": {
                name: _median(values[responsive])["estimate"] for name, values in error.items()
            },
            "unrectified": {
                name: _median(values[responsive]) for name, values in self.unrectified.index.items()
            },
            "suppressed": _median((index["ssi"][responsive] >= SUPPRESSED).astype(float), np.mean),
        }


def v1(
    network: nn.Module,
    layers: Sequence[str],
    protocol: GratingProtocol | None = None,
    all_units: bool = True,
    surround: bool = True,
    geometry: Mapping[str, FieldGeometry] | None = None,
    pixels_per_pass: int | None = None,
    backgrounds: Float[Tensor, "N 3 H W"] | None = None,
) -> dict[str, LayerComparison]:
    """Compare layers of a network with macaque V1.

    The stimuli are those of `record_grating_responses`. Compared are all responsive units. The
    protocol for cells leaves out those whose field lies more than .15 degrees from the stimuli
    (`all_units=False`). In a layer with a large stride most do: of 40, 110 and 314 responsive units
    of conv3 to conv5 of EfficientNet-Lite0 15, 19 and 19 remain, with four
    `GratingProtocol.centres` 39, 89 and 254. Their SSI does not differ from that of the others.

    Args:
        network: any module that takes RGB images in [0, 1]; put the normalisation of its weights in
            front of it.
        layers: dotted names of the layers.
        protocol: the stimuli; None for the defaults, with 28 pixels per degree.
        all_units: whether responsive units that are not centred are compared too.
        surround: whether to measure contrast response and surrounds too, for three times the time.
        geometry: geometries of layers; those of other layers are measured.
        pixels_per_pass: pixels of images per forward pass; None: as many as memory allows.
        backgrounds: images behind the stimuli, over which indices are averaged, each for the time
            of one comparison; None for grey.

    Raises:
        ValueError: the errors of `record_grating_responses`.
    """
    parts: dict[str, list[tuple[SizeTuningIndices, SizeTuningIndices]]] = {n: [] for n in layers}
    for background in [None] if backgrounds is None else backgrounds:
        responses = record_grating_responses(
            network, layers, protocol, surround, geometry, pixels_per_pass, background
        )
        for name, response in responses.items():
            both = [size_tuning_indices(response, rectified) for rectified in (True, False)]
            parts[name].append((both[0], both[1]))
    comparisons = {}
    for name, of_images in parts.items():
        tuning, unrectified = (
            of[0] if backgrounds is None else mean_over_images(of)
            for of in zip(*of_images, strict=True)
        )
        compared = tuning.responsive & (tuning.centred | all_units)
        comparisons[name] = LayerComparison(
            tuning,
            unrectified,
            compared,
            {
                key: v1_similarity(tuning.index[key][compared], key)
                for key in CELL_HISTOGRAMS
                if key in tuning.index
            },
        )
    return comparisons


def _median(values: FloatArray, statistic: Any = np.median) -> dict[str, float]:
    return bootstrap_interval(values, statistic=statistic)._asdict()
