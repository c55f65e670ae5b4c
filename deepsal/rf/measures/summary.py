"""Measures of fields as one table per layer, and the change of fields between two checkpoints.

Shapes: U units, h × w pixels.
"""

import numpy as np
from numpy.typing import NDArray

from deepsal.rf.geometry import FieldGeometry
from deepsal.rf.measures import shape
from deepsal.rf.measures.fit import fit_field_models, is_centre_surround
from deepsal.rf.measures.profile import (
    FloatArray,
    checkerboard_sigma,
    field_extent,
    smooth_field,
)
from deepsal.rf.measures.similarity import field_correlation


def field_measures(
    field: NDArray[np.float32],
    geometry: FieldGeometry,
    half_fields: NDArray[np.float32] | None = None,
) -> dict[str, FloatArray]:
    """Measure fields after a blur of a quarter of the stride (`checkerboard_sigma`).

    Args:
        field: (U, 3, h, w); NaN for a unit without a field.
        geometry: geometry of the layer.
        half_fields: (2, U, 3, h, w), the same fields from two halves of the images. The models of
            `fit_field_models` are then fitted to the first half and tested on the second.

    Returns:
        `{measure: (U,)}`: csi, opponency, surround, anisotropy (see `measures.shape`), extent
        (pixels), k (see `FieldFits`) and centre_surround, 1 or 0 by `is_centre_surround`.
    """
    sigma = checkerboard_sigma(geometry.stride[0])
    w = smooth_field(field, sigma)
    halves = (w, None) if half_fields is None else (smooth_field(h, sigma) for h in half_fields)
    fits = fit_field_models(*halves)
    has_field = np.isfinite(w).all((1, 2, 3))
    return {
        "csi": shape.centre_surround_index(w),
        "k": fits.k,
        "opponency": shape.spatial_opponency(w),
        "surround": shape.surround_index(w),
        "extent": field_extent(w),
        "anisotropy": shape.anisotropy(w),
        "centre_surround": np.where(has_field, is_centre_surround(fits), np.nan),
    }


def field_change_measures(
    field: NDArray[np.float32], start: NDArray[np.float32], geometry: FieldGeometry
) -> dict[str, FloatArray]:
    """Measure fields and their similarity to the fields at the start of training.

    Args:
        field: (U, 3, h, w).
        start: (U, 3, h, w), the same units' fields before training.
        geometry: geometry of the layer.

    Returns:
        `{measure: (U,)}`: those of `field_measures`, and correlation with the fields at the start,
        both blurred. The extent is that of the fields without a blur.
    """
    sigma = checkerboard_sigma(geometry.stride[0])
    measures = {
        "correlation": field_correlation(smooth_field(field, sigma), smooth_field(start, sigma)),
        **field_measures(field, geometry),
        "extent": field_extent(field),
    }
    return {key: np.asarray(values, np.float64) for key, values in measures.items()}
