"""Measures of fields as one table per stage, and the change of fields between two checkpoints."""

import numpy as np
from numpy.typing import NDArray

from deepsal.rf.geometry import FieldGeometry
from deepsal.rf.measures import profile, shape
from deepsal.rf.measures.fit import fit_field_models, is_centre_surround

FloatArray = NDArray[np.float64]


def field_measures(
    field: NDArray[np.float32], geometry: FieldGeometry, half: NDArray[np.float32] | None = None
) -> dict[str, FloatArray]:
    """Return the measures of fields, `{measure: (U,)}`, after a blur of a quarter of the stride.

    csi, opponency, surround and anisotropy (`shape`), extent (`measure`), k and centre_surround, 1
    or 0 by the rule of `fit.centre_surround`.

    Args:
        field: (U, 3, h, w).
        geometry: of the layer.
        half: (2, U, 3, h, w), the same fields from two halves of the images; shapes are then
            fitted on one and tested on the other.
    """
    sigma = profile.checkerboard_sigma(geometry.stride[0])
    w = profile.smooth_field(field, sigma)
    if half is None:
        fits = fit_field_models(w)
    else:
        one, other = (profile.smooth_field(part, sigma) for part in half)
        fits = fit_field_models(one, other=other)
    known = np.isfinite(w).all((1, 2, 3))
    return {
        "csi": shape.centre_surround_index(w),
        "k": fits.k,
        "opponency": shape.spatial_opponency(w),
        "surround": shape.surround_index(w),
        "extent": profile.field_extent(w),
        "anisotropy": shape.anisotropy(w),
        "centre_surround": np.where(known, is_centre_surround(fits), np.nan),
    }


def field_change_measures(
    field: NDArray[np.float32], start: NDArray[np.float32], geometry: FieldGeometry
) -> dict[str, FloatArray]:
    """Return the `field_measures` of fields, and how far they have moved, `{measure: (U,)}`.

    correlation: with the same units' fields at the start, both blurred (`measure`) · extent: of the
    fields as they are, without a blur.

    Args:
        field: (U, 3, h, w).
        start: the same units' fields before.
        geometry: of the layer.
    """
    sigma = profile.checkerboard_sigma(geometry.stride[0])
    alike = profile.field_correlation(*(profile.smooth_field(w, sigma) for w in (field, start)))
    found = {
        "correlation": alike,
        **field_measures(field, geometry),
        "extent": profile.field_extent(field),
    }
    return {key: np.asarray(values, np.float64) for key, values in found.items()}
