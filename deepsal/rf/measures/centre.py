"""Centre, size and polarity of a field, by its strongest blob."""

from math import prod

import numpy as np

from deepsal.rf.measures.profile import Field, FloatArray, luminance_field

COARSE_SIDE = 64
BLOB_SIZES = 12
MEAN_SHIFT_STEPS = 12


def box_averaging_matrices(
    start: FloatArray, step: FloatArray, count: int, size: int
) -> FloatArray:
    """Return matrices that average an axis over boxes of pixels, one per unit.

    Box i of unit u covers [start + i·step, start + (i+1)·step); pixel j covers [j − ½, j + ½).
    The row of a box that reaches out of the axis sums to less than 1.

    Args:
        start: (U,), the edge of each unit's first box, pixels.
        step: (U,), the width of its boxes, pixels.
        count: number of boxes.
        size: number of pixels of the axis.

    Returns:
        (U, count, size).

    >>> box_averaging_matrices(np.array([-0.5]), np.array([2.0]), 2, 4)[0].tolist()
    [[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]]
    """
    edges = start[:, None] + step[:, None] * np.arange(count + 1)
    covered = np.clip(edges[..., None] - np.arange(size) + 0.5, 0, 1)
    return np.asarray(np.diff(covered, axis=1) / step[:, None, None])


def locate_centre(field: Field | FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Locate the centre of each field: the centroid of the energy about its strongest blob.

    The field minus its median is matched with Gaussians G_s of sizes s = 0.7 … side/4 px, each
    scaled to unit energy. The blob is where |⟨w, G_s⟩| is largest over positions and sizes. From
    there, mean shift leads to the centroid of the energy: w blurred by s/2, squared, weighted by
    a Gaussian of 2s about the centroid itself. Unlike a plain centroid of w², it does not drift to
    the middle of the array as noise grows. Unlike the blob, it finds the middle of a Gabor of any
    phase. Arrays larger than 64 px are averaged down to 64 px first.

    Args:
        field: (U, 3, h, w) or (U, h, w).

    Returns:
        (y, x) in pixels (U, 2), size s in pixels (U,) and polarity ±1 (U,): +1 an ON unit, −1 an
        OFF unit. NaN for a unit without a field, or with a constant one.

    Raises:
        ValueError: `field` has another shape.

    >>> at = np.arange(31) - 12
    >>> w = -np.exp(-(at[:, None] ** 2 + (at - 4) ** 2) / 18)[None]
    >>> [value.round().tolist() for value in locate_centre(w)]
    [[[12.0, 16.0]], [3.0], [-1.0]]
    """
    w = luminance_field(field).astype(np.float64)
    has_field = np.isfinite(w).all((1, 2)) & (np.ptp(w, axis=(1, 2)) > 0)
    w = np.where(has_field[:, None, None], w, 0)
    w = w - np.median(w.reshape(len(w), prod(w.shape[1:])), 1)[:, None, None]
    step = max(1.0, max(w.shape[1:]) / COARSE_SIDE)
    rows, columns = (
        box_averaging_matrices(np.array([-0.5]), np.array([step]), max(1, int(n / step)), n)[0]
        for n in w.shape[1:]
    )
    w = rows @ w @ columns.T
    best = np.zeros(len(w))
    place, size, sign = np.zeros((len(w), 2)), np.ones(len(w)), np.zeros(len(w))
    for s in np.geomspace(0.7, max(1.0, max(w.shape[1:]) / 4), BLOB_SIZES):
        match = _match_gaussian(w, s).reshape(len(w), prod(w.shape[1:]))
        spots = np.abs(match).argmax(1)
        peak = match[np.arange(len(w)), spots]
        better = np.abs(peak) > best
        best = np.where(better, np.abs(peak), best)
        spots = np.stack(np.divmod(spots, w.shape[2]), 1)
        place = np.where(better[:, None], spots, place)
        size, sign = np.where(better, s, size), np.where(better, np.sign(peak), sign)
    place = _mean_shift(w, place, size)
    missing = np.where(has_field, 1.0, np.nan)
    place = (place + 0.5) * step - 0.5
    return place * missing[:, None], size * step * missing, sign * missing


def _match_gaussian(w: FloatArray, s: float) -> FloatArray:
    kernels = [
        np.exp(-(np.subtract.outer(a, a) ** 2) / (2 * s * s)) for a in map(np.arange, w.shape[1:])
    ]
    unit = np.sqrt(np.multiply.outer(*((k * k).sum(1) for k in kernels)))
    return np.asarray(kernels[0] @ w @ kernels[1] / unit)


def _gaussian_weights(at: FloatArray, size: int, sigma: FloatArray) -> FloatArray:
    return np.asarray(np.exp(-0.5 * ((np.arange(size) - at[..., None]) / sigma[:, None]) ** 2))


def _mean_shift(w: FloatArray, place: FloatArray, size: FloatArray) -> FloatArray:
    """Move each place to the centroid of the energy around it, `MEAN_SHIFT_STEPS` times."""
    blurs = [
        _gaussian_weights(
            np.broadcast_to(np.arange(float(n))[:, None], (n, len(w))), n, size / 2
        ).swapaxes(0, 1)
        for n in w.shape[1:]
    ]
    energy = (blurs[0] @ w @ blurs[1]) ** 2
    y, x = np.arange(w.shape[1]), np.arange(w.shape[2])
    for _ in range(MEAN_SHIFT_STEPS):
        rows, columns = (_gaussian_weights(place[:, i], w.shape[1 + i], 2 * size) for i in (0, 1))
        by_row = rows * (energy @ columns[..., None])[..., 0]
        by_column = columns * (rows[:, None] @ energy)[:, 0]
        total = np.maximum(by_row.sum(1), 1e-300)
        place = np.stack([by_row @ y, by_column @ x], 1) / total[:, None]
    return place
