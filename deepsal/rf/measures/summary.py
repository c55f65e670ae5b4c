"""Measures of fields as one table per layer, their errors, and the change between checkpoints.

Shapes: J blocks, U units, h × w pixels.
"""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from deepsal.rf.geometry import FieldGeometry
from deepsal.rf.measures import shape
from deepsal.rf.measures.centre import locate_centre
from deepsal.rf.measures.fit import fit_field_models, is_centre_surround
from deepsal.rf.measures.profile import (
    FloatArray,
    checkerboard_sigma,
    field_extent,
    luminance_field,
    smooth_field,
)
from deepsal.rf.measures.reliability import jackknife_bias, jackknife_error, leave_one_out_means
from deepsal.rf.measures.similarity import field_correlation


def field_measures(
    field: NDArray[np.float32],
    geometry: FieldGeometry,
    half_fields: NDArray[np.float32] | None = None,
) -> dict[str, FloatArray]:
    """Measure fields after a blur of a quarter of the stride (`checkerboard_sigma`).

    Args:
        field: (U, 3, h, w) or (U, h, w); NaN for a unit without a field.
        geometry: geometry of the layer.
        half_fields: (2, *shape of field), the same fields from two halves of the images. The
            models of `fit_field_models` are then fitted to the first half and tested on the second.

    Returns:
        `{measure: (U,)}`: csi, opponency, surround, anisotropy (see `measures.shape`), extent
        (pixels), polarity (1 ON, −1 OFF, see `locate_centre`), k (see `FieldFits`) and
        centre_surround, 1 or 0 by `is_centre_surround`.
    """
    sigma = checkerboard_sigma(geometry.stride[0])
    w = smooth_field(field, sigma)
    halves = (w, None) if half_fields is None else (smooth_field(h, sigma) for h in half_fields)
    fits = fit_field_models(*halves)
    has_field = np.isfinite(w).all(tuple(range(1, w.ndim)))
    return {
        "csi": shape.centre_surround_index(w),
        "k": fits.k,
        "opponency": shape.spatial_opponency(w),
        "surround": shape.surround_index(w),
        "extent": field_extent(w),
        "anisotropy": shape.anisotropy(w),
        "polarity": locate_centre(w)[2],
        "centre_surround": np.where(has_field, is_centre_surround(fits), np.nan),
    }


def measures_with_errors(
    blocks: NDArray[np.float32], measure: Callable[[NDArray[np.float32]], Mapping[str, FloatArray]]
) -> dict[str, FloatArray]:
    """Measure mean fields, with the standard error and the bias of each measure.

    Both are the jackknife's: each block is left out once, and the mean of the others is measured.
    Noise does not only scatter a measure, it shifts it: noise widens a field's extent, for example.
    A measure is returned as it is, with the shift that the noise of these blocks causes beside it.
    The measure minus its bias is corrected for a shift that falls as 1/J. Sums of |w|, as in csi
    and opponency, shift as 1/√J: about half of it is left.

    The polarity's error is 0 where the sign does not depend on any one block.

    Args:
        blocks: (J, U, 3, h, w), fields of independent samples of equal size. The luminance of the
            fields is measured.
        measure: returns `{measure: (U,)}` of fields (U, h, w), such as `field_measures`.

    Returns:
        `{measure: (U,)}`: of each measure `extent` also `extent_error` and `extent_bias`; NaN where
        the measure is not determined without some block.

    >>> blocks = np.float32([1, 3]).reshape(2, 1, 1, 1, 1).repeat(3, 2)
    >>> measures = measures_with_errors(blocks, lambda field: {"energy": field[:, 0, 0] ** 2.0})
    >>> {name: values.tolist() for name, values in measures.items()}
    {'energy': [4.0], 'energy_error': [4.0], 'energy_bias': [1.0]}
    """
    luminance = np.stack([luminance_field(block) for block in blocks])
    fields = [luminance.mean(0, dtype=np.float64)[None], leave_one_out_means(luminance)]
    measured = measure(np.concatenate(fields).reshape(-1, *luminance.shape[2:]).astype(np.float32))
    measures: dict[str, FloatArray] = {}
    for name, values in measured.items():
        value, *without = np.asarray(values, np.float64).reshape(len(blocks) + 1, -1)
        measures[name] = value
        measures[f"{name}_error"] = jackknife_error(np.stack(without))
        measures[f"{name}_bias"] = jackknife_bias(value, np.stack(without))
    return measures


def field_change_measures(
    field: NDArray[np.float32],
    start: NDArray[np.float32],
    geometry: FieldGeometry,
    blocks: NDArray[np.float32] | None = None,
    start_blocks: NDArray[np.float32] | None = None,
) -> dict[str, FloatArray]:
    """Measure fields and their similarity to the fields at the start of training.

    Args:
        field: (U, 3, h, w).
        start: (U, 3, h, w), the same units' fields before training.
        geometry: geometry of the layer.
        blocks: (J, U, 3, h, w), fields of disjoint sets of the patches behind `field`.
        start_blocks: (J, U, 3, h, w), those behind `start`.

    Returns:
        `{measure: (U,)}`: those of `watched_measures`, and correlation with the fields at the
        start, both blurred. With blocks also their errors, as of `measures_with_errors`; a block is
        left out of both fields of the correlation at once.
    """
    sigma = checkerboard_sigma(geometry.stride[0])

    def correlate(one: NDArray[np.float32], other: NDArray[np.float32]) -> FloatArray:
        return field_correlation(smooth_field(one, sigma), smooth_field(other, sigma))

    measures = {"correlation": correlate(field, start), **watched_measures(field, geometry)}
    if blocks is not None:
        with_errors = measures_with_errors(blocks, partial(watched_measures, geometry=geometry))
        measures = {**with_errors, **measures}
    if blocks is not None and start_blocks is not None:
        without = (leave_one_out_means(of).astype(np.float32) for of in (blocks, start_blocks))
        correlations = np.stack([correlate(*fields) for fields in zip(*without, strict=True)])
        measures["correlation_error"] = jackknife_error(correlations)
    return {key: np.asarray(values, np.float64) for key, values in measures.items()}


def watched_measures(field: NDArray[np.float32], geometry: FieldGeometry) -> dict[str, FloatArray]:
    """Return `field_measures`, but the extent of the fields without a blur."""
    return {**field_measures(field, geometry), "extent": field_extent(field)}
