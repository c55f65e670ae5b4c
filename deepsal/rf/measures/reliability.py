"""Reliability of fields from blocks, and similarities of fields corrected for their noise.

Letters in shapes: J blocks (independent samples of equal size), U units, `...` the axes of a field.
"""

from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

MIN_RELIABILITY = 0.3
"""Below this reliability of either field, a similarity corrected for noise is not determined."""


class SimilarityEstimate(NamedTuple):
    """A number per unit and its standard error, both (U,); NaN where it is not determined."""

    value: FloatArray
    error: FloatArray


def spearman_brown(correlation: FloatArray, times: float = 2.0) -> FloatArray:
    """Predict the reliability of a sample that is `times` as large.

    r' = t r / (1 + (t − 1) r); Spearman 1910, Brown 1910. It assumes that noise is independent
    between samples and falls with their size.

    Args:
        correlation: correlation of two fields from samples of one size, any shape.
        times: size of the sample asked about, in sizes of the sample at hand.

    >>> spearman_brown(np.array([0.0, 0.5, 1.0])).round(3).tolist()
    [0.0, 0.667, 1.0]
    """
    return np.asarray(times * correlation / (1 + (times - 1) * correlation))


def split_half_reliability(blocks: NDArray[np.floating]) -> FloatArray:
    """Return each field's reliability: its correlation with a second measurement of equal size.

    The blocks are halved in every way there is (35 ways for eight blocks). The Pearson correlation
    of the two halves' mean fields is averaged over the ways, and Spearman–Brown corrects it from
    half the sample to the whole one. Noise alone gives values around 0, also below it.

    Args:
        blocks: (J, U, ...), one field per block; J even.

    Returns:
        (U,); NaN for a unit whose field is constant or not finite in some half.

    Raises:
        ValueError: an odd number of blocks.

    >>> rng = np.random.default_rng(0)
    >>> field, noise = rng.normal(size=(1, 500)), rng.normal(size=(8, 1, 500))
    >>> split_half_reliability(field + noise).round(1).tolist()  # 1 / (1 + 1/8)
    [0.9]
    """
    count = len(blocks)
    if count < 2 or count % 2:
        raise ValueError(f"split-half reliability needs an even number of blocks, not {count}")
    products = _products(blocks, blocks)
    total = np.zeros(blocks.shape[1])
    ways = list(combinations(range(1, count), count // 2 - 1))  # block 0 is in the first half
    for way in ways:
        first = np.isin(np.arange(count), (0, *way)).astype(np.float64)
        total += _correlation(products, products, products, first, 1 - first)
    return spearman_brown(total / len(ways))


def pairs_needed(reliability: FloatArray, pairs: int, target: float) -> FloatArray:
    """Return how large a sample reaches a reliability, by Spearman–Brown.

    m = n · target / (1 − target) · (1 − r) / r.

    Args:
        reliability: r of a sample of `pairs`, any shape.
        pairs: n, its size; patches of gradient fields count alike.
        target: the reliability asked for, between 0 and 1.

    Returns:
        m; infinite where r is 0 or less, NaN where it is NaN.

    >>> pairs_needed(np.array([0.5, 0.0]), 100, 0.9).round().tolist()
    [900.0, inf]
    """
    r = np.asarray(reliability, np.float64)
    with np.errstate(divide="ignore"):
        needed = pairs * target / (1 - target) * (1 - r) / np.maximum(r, 0)
    return np.asarray(np.maximum(needed, 0))


def standard_error(blocks: NDArray[np.floating]) -> FloatArray:
    """Return the standard error of the mean over blocks, (U, ...), from (J, U, ...).

    sd / √J with J − 1 degrees of freedom; it equals the jackknife's.

    >>> standard_error(np.array([[1.0], [3.0]])).tolist()
    [1.0]
    """
    return np.asarray(blocks.std(0, ddof=1, dtype=np.float64) / np.sqrt(len(blocks)))


def jackknife_error(without: NDArray[np.floating]) -> FloatArray:
    """Return the standard error of any number that is computed from a mean field.

    √((J − 1)/J · Σ_j (θ_j − mean θ)²), θ_j computed from all blocks but the j-th; Efron &
    Tibshirani 1993, "An Introduction to the Bootstrap", chapter 11.

    Args:
        without: (J, ...), θ_j; `leave_one_out_means` gives the fields that they are computed from.

    >>> values = np.array([1.0, 2.0, 6.0])
    >>> bool(np.isclose(jackknife_error(leave_one_out_means(values)), standard_error(values)))
    True
    """
    count = len(without)
    deviation = without - without.mean(0)
    return np.asarray(np.sqrt((count - 1) / count * np.square(deviation).sum(0)))


def jackknife_bias(value: NDArray[np.floating], without: NDArray[np.floating]) -> FloatArray:
    """Return the bias of any number that is computed from a mean field, by the jackknife.

    (J − 1) (mean θ_j − θ); Quenouille 1956, "Notes on bias in estimation". θ minus it is free of
    the part of the bias that falls as 1/J.

    Args:
        value: (...), θ, computed from all blocks.
        without: (J, ...), θ_j, as of `jackknife_error`.

    >>> blocks = np.array([[1.0], [2.0], [6.0]])
    >>> jackknife_bias(blocks.mean(0) ** 2, leave_one_out_means(blocks) ** 2).round(2).tolist()
    [2.33]
    """
    return np.asarray((len(without) - 1) * (without.mean(0) - value))


def leave_one_out_means(blocks: NDArray[np.floating]) -> FloatArray:
    """Return the mean of all blocks but the j-th for each j, (J, ...) from (J, ...).

    >>> leave_one_out_means(np.array([1.0, 2.0, 6.0])).tolist()
    [4.0, 3.5, 1.5]
    """
    return np.asarray((blocks.sum(0, dtype=np.float64) - blocks) / (len(blocks) - 1))


def noise_ceiling(first: FloatArray, second: FloatArray) -> FloatArray:
    """Return the correlation that two equal fields would show, measured with these reliabilities.

    √(r₁ r₂). Fields of one network measured on disjoint samples correlate with it on average.

    Args:
        first: r₁ per unit, (U,).
        second: r₂ per unit, (U,).

    Returns:
        (U,); NaN where a reliability is below 0 or NaN.

    >>> noise_ceiling(np.array([0.81, -0.1]), np.array([0.64, 0.5])).round(2).tolist()
    [0.72, nan]
    """
    product = np.asarray(first, np.float64) * second
    valid = (np.asarray(first) >= 0) & (np.asarray(second) >= 0)
    return np.sqrt(np.where(valid, product, np.nan))


def corrected_similarity(
    first: NDArray[np.floating], second: NDArray[np.floating]
) -> tuple[SimilarityEstimate, SimilarityEstimate, FloatArray]:
    """Compare each unit's two fields, and correct the correlation for the noise of both.

    The corrected value is ρ = C / √(S₁ S₂), C the mean product of blocks i of the first and j of
    the second field, S the mean product of blocks i and j of one field, i ≠ j throughout. It
    estimates the correlation over its noise ceiling (Spearman 1904, "The proof and measurement of
    association between two things"), and noise that the two measurements share block by block
    (same seed) does not enter it. It is not clipped: noise may take it above 1. Standard errors
    are the jackknife's; block j is left out of both fields at once.

    Args:
        first: (J, U, ...), fields of blocks; J even and at least 4.
        second: of the same shape.

    Returns:
        The correlation as measured, the corrected one, and the noise ceiling (U,). The corrected
        one is NaN where either reliability is below 0.3: it is not determined.

    Raises:
        ValueError: other shapes, or another number of blocks.

    >>> rng = np.random.default_rng(0)
    >>> field = rng.normal(size=(1, 900))
    >>> noisy = [field + 2 * rng.normal(size=(8, 1, 900)) for _ in range(2)]
    >>> raw, corrected, ceiling = corrected_similarity(*noisy)
    >>> raw.value.round(1).tolist(), corrected.value.round(1).tolist(), ceiling.round(1).tolist()
    ([0.7], [1.0], [0.7])
    """
    count = len(first)
    if first.shape != second.shape or count < 4 or count % 2:
        raise ValueError(
            f"fields of blocks {first.shape} and {second.shape} must have one shape (J, U, ...) "
            "with an even number of blocks J, at least 4"
        )
    reliabilities = split_half_reliability(first), split_half_reliability(second)
    determined = np.minimum(*reliabilities) >= MIN_RELIABILITY
    products = _products(first, first), _products(first, second), _products(second, second)
    kept = [np.ones(count), *(1 - np.eye(count))]
    raw, *raw_without = (_correlation(*products, each, each) for each in kept)
    own, both, other = (p * (1 - np.eye(count))[..., None] for p in products)
    corrected, *without = (_correlation(own, both, other, each, each) for each in kept)
    return (
        SimilarityEstimate(raw, jackknife_error(np.stack(raw_without))),
        SimilarityEstimate(
            np.where(determined, corrected, np.nan),
            np.where(determined, jackknife_error(np.stack(without)), np.nan),
        ),
        noise_ceiling(*reliabilities),
    )


def _products(first: NDArray[np.floating], second: NDArray[np.floating]) -> FloatArray:
    """Return ⟨a_i, b_j⟩ of centred fields of blocks, (J, J, U)."""
    centred = []
    for blocks in (first, second):
        flat = blocks.reshape(*blocks.shape[:2], -1).astype(np.float64)
        centred.append(flat - flat.mean(2, keepdims=True))
    return np.asarray(np.einsum("iun,jun->iju", *centred, optimize=True))


def _correlation(
    own: FloatArray, both: FloatArray, other: FloatArray, a: FloatArray, b: FloatArray
) -> FloatArray:
    """Return the correlation of Σ a_j x_j with Σ b_j y_j, (U,), from products of blocks."""
    cross = np.einsum("i,iju,j->u", a, both, b)
    norms = [np.einsum("i,iju,j->u", at, p, at) for at, p in ((a, own), (b, other))]
    norm = np.sqrt(np.maximum(norms[0], 0) * np.maximum(norms[1], 0))
    return np.asarray(np.divide(cross, norm, out=np.full_like(cross, np.nan), where=norm > 0))
