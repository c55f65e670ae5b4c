"""Published distributions of macaque V1, and the similarity of a population to them.

Histograms and formula: Marques, Schrimpf & DiCarlo 2021, "Multi-scale hierarchical neural network
models that bridge from single neurons in the primate primary visual cortex to object recognition
behavior", bioRxiv 2021.03.01.433495. Cells of size tuning: Cavanaugh, Bair & Movshon 2002, J
Neurophysiol 88:2530, doi:10.1152/jn.00692.2001.
"""

from typing import NamedTuple

import numpy as np

from deepsal.rf.measures.profile import FloatArray
from deepsal.statistics import Interval

RESAMPLES = 1000


class CellHistogram(NamedTuple):
    """A histogram of cells: the edges of its bins, and the number of cells in each.

    title: with the unit · median: interpolated, as published · ceiling: similarity of the cells to
    resampled cells, by which similarities are divided; None where it is not published.
    """

    title: str
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    median: float
    ceiling: float | None


DIAMETER_EDGES = tuple(0.0625 * 2.0**k for k in range(9))
CELL_HISTOGRAMS = {
    "ssi": CellHistogram(
        "surround suppression index",
        tuple(np.arange(11) / 5),
        (66, 44, 38, 23, 16, 3, 0, 0, 0, 0),
        0.33,
        0.958,
    ),
    "summation_field": CellHistogram(
        "grating summation field, °", DIAMETER_EDGES, (0, 9, 30, 55, 42, 10, 2, 0), 0.78, 0.956
    ),
    "surround_diameter": CellHistogram(
        "surround diameter, °", DIAMETER_EDGES, (0, 0, 2, 20, 33, 49, 40, 4), 2.62, 0.955
    ),
    "surround_ratio": CellHistogram(
        "surround over summation field", (1, 2, 4, 8, 16, 32), (69, 38, 31, 10, 0), 2.2, None
    ),
    "frequency": CellHistogram(
        "preferred frequency, cycles/°",
        (0.35, 0.5, 0.7, 1, 1.4, 2, 2.8, 4, 5.6, 8, 11.2, 16, 22.4),
        (3, 10, 15, 31, 57, 62, 67, 63, 31, 15, 5, 4),
        2.85,
        0.967,
    ),
}
"""Distributions of macaque V1, by tuning index."""


def bin_counts(values: FloatArray, name: str) -> FloatArray:
    """Return the number of finite values in each bin of a histogram of V1.

    Values beyond the outer edges count in the outer bins.

    >>> bin_counts(np.array([0.05, 0.2, 7.0, np.nan]), "ssi").tolist()
    [1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]
    """
    inner = np.array(CELL_HISTOGRAMS[name].edges[1:-1])
    bins = np.searchsorted(inner, values[np.isfinite(values)], side="right")
    return np.bincount(bins, minlength=len(inner) + 1).astype(np.float64)


def v1_similarity(values: FloatArray, name: str, seed: int = 0) -> Interval:
    """Return the similarity of a population to macaque V1, over the ceiling where there is one.

    1 − KS(p, q)/max(KS(first bin, q), KS(last bin, q)), p and q the histograms of the units and of
    V1, KS the largest difference of their cumulative shares. The estimate is the mean over 1,000
    bootstrap samples of as many units as V1 has cells, with their central 95 %; the count is the
    number of finite values. 1: as similar as cells to cells; NaN without values.

    Args:
        values: (U,), one index of the units.
        name: of the index, one of `CELL_HISTOGRAMS`.
        seed: of the resampling.

    >>> round(v1_similarity(np.zeros(20), "ssi").estimate, 3)  # units without any suppression
    0.363
    """
    cells, counts = CELL_HISTOGRAMS[name], bin_counts(values, name)
    if not counts.any():
        return Interval(np.nan, np.nan, np.nan, 0)
    size = sum(cells.counts)
    random = np.random.default_rng(seed)
    samples = random.multinomial(size, counts / counts.sum(), RESAMPLES) / size
    q = np.array(cells.counts) / size
    extremes = np.eye(len(q))[[0, -1]]
    similarity = 1 - _ks_distance(samples, q) / _ks_distance(extremes, q).max()
    similarity /= cells.ceiling or 1.0
    low, high = np.quantile(similarity, [0.025, 0.975])
    return Interval(float(similarity.mean()), float(low), float(high), int(counts.sum()))


def _ks_distance(p: FloatArray, q: FloatArray) -> FloatArray:
    """Return the largest difference of the cumulative shares of histograms (n, B) and (B,)."""
    return np.asarray(np.abs(np.cumsum(p - q, axis=1)).max(1))
