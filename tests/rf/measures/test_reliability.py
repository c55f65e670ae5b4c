from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from deepsal.rf.measures import reliability
from deepsal.rf.measures.reliability import (
    corrected_similarity,
    jackknife_error,
    leave_one_out_means,
    noise_ceiling,
    pairs_needed,
    spearman_brown,
    split_half_reliability,
    standard_error,
)

UNITS, PIXELS = 40, 600


def noisy(
    field: NDArray[np.float64], deviation: float, seed: int, count: int = 8
) -> NDArray[np.float64]:
    noise = np.random.default_rng(seed).normal(size=(count, *field.shape))
    return np.asarray(field + deviation * noise)


def fields(seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=(UNITS, 3, PIXELS // 3))


def test_split_half_is_the_mean_over_all_halvings_corrected_by_spearman_brown() -> None:
    blocks = noisy(fields()[:2], 2, 1, count=4)
    expected = []
    for unit in range(2):
        correlations = [
            np.corrcoef(
                blocks[list(half), unit].mean(0).ravel(),
                blocks[[j for j in range(4) if j not in half], unit].mean(0).ravel(),
            )[0, 1]
            for half in combinations(range(4), 2)
        ]
        mean = np.mean(correlations)
        expected.append(2 * mean / (1 + mean))
    assert np.allclose(split_half_reliability(blocks), expected)


@pytest.mark.parametrize("deviation", [0.5, 2, 6])
def test_reliability_is_the_correlation_with_another_measurement(deviation: float) -> None:
    first, second = (noisy(fields(), deviation, seed) for seed in (1, 2))
    centred = [f.mean(0).reshape(UNITS, -1) for f in (first, second)]
    again = [np.corrcoef(*pair)[0, 1] for pair in zip(*centred, strict=True)]
    assert split_half_reliability(first).mean() == pytest.approx(np.mean(again), abs=0.02)
    assert split_half_reliability(first).mean() == pytest.approx(
        1 / (1 + deviation**2 / 8), abs=0.02
    )


def test_noise_alone_has_no_reliability_and_a_silent_unit_none_that_is_known() -> None:
    blocks = noisy(np.zeros((UNITS, PIXELS)), 1, 0)
    blocks[:, 3] = 0
    blocks[2, 4, 7] = np.nan
    found = split_half_reliability(blocks)
    assert abs(np.nanmean(found)) < 0.03
    assert np.flatnonzero(np.isnan(found)).tolist() == [3, 4]


def test_spearman_brown_predicts_the_sample_that_is_needed() -> None:
    for r in (0.05, 0.5, 0.8):
        times = pairs_needed(np.array(r), 1, 0.9)
        assert spearman_brown(np.array(r), float(times)) == pytest.approx(0.9)
    assert np.isnan(pairs_needed(np.array(np.nan), 8, 0.9))
    assert pairs_needed(np.array(1.0), 8, 0.9) == 0


def test_an_odd_number_of_blocks_cannot_be_halved() -> None:
    with pytest.raises(ValueError, match="even number of blocks, not 3"):
        split_half_reliability(np.ones((3, 1, 5)))


def test_the_jackknife_of_a_mean_is_its_standard_error() -> None:
    blocks = noisy(fields()[:3], 1, 0)
    assert np.allclose(jackknife_error(leave_one_out_means(blocks)), standard_error(blocks))
    wide = noisy(np.zeros((1, 20000)), 1, 0)
    assert np.sqrt(np.mean(standard_error(wide) ** 2)) == pytest.approx(1 / np.sqrt(8), rel=0.01)


@pytest.mark.parametrize("true", [1.0, 0.7, 0.0, -0.5])
@pytest.mark.parametrize("shared", [False, True])
def test_a_similarity_is_corrected_whether_or_not_the_noise_is_shared(
    true: float, shared: bool
) -> None:
    before = fields(0)
    after = true * before + np.sqrt(1 - true**2) * fields(1)
    known = [np.corrcoef(x.ravel(), y.ravel())[0, 1] for x, y in zip(before, after, strict=True)]
    first, second = noisy(before, 2, 2), noisy(after, 2, 2 if shared else 3)
    raw, corrected, ceiling = corrected_similarity(first, second)
    assert ceiling.mean() == pytest.approx(1 / 1.5, abs=0.02)
    if not shared:
        assert raw.value.mean() == pytest.approx(true / 1.5, abs=0.03)
        assert np.allclose(corrected.value, raw.value / ceiling, atol=0.15)
    deviation = corrected.value - known
    assert abs(deviation.mean()) < 4 * deviation.std() / np.sqrt(UNITS) + 1e-9
    error = np.sqrt(np.mean(corrected.error**2))  # the jackknife's is rather too large than small
    assert 0.8 * deviation.std() - 1e-9 < error < 1.7 * deviation.std() + 1e-9


def test_a_corrected_similarity_may_exceed_1() -> None:
    _, corrected, _ = corrected_similarity(noisy(fields(), 3, 1), noisy(fields(), 3, 2))
    assert corrected.value.max() > 1


def test_a_similarity_of_unreliable_fields_is_not_determined() -> None:
    good, bad = noisy(fields(), 0.5, 0), noisy(fields(), 20, 1)
    raw, corrected, _ = corrected_similarity(good, bad)
    assert np.isfinite(raw.value).all()
    low = split_half_reliability(bad) < reliability.MIN_RELIABILITY
    assert low.mean() > 0.9
    assert np.array_equal(np.isnan(corrected.value), low)
    assert np.array_equal(np.isnan(corrected.error), low)
    assert np.isnan(noise_ceiling(np.array([np.nan, -0.1]), np.array([0.5, 0.5]))).all()


@pytest.mark.parametrize("shapes", [((8, 2, 5), (8, 3, 5)), ((3, 2, 5),) * 2, ((2, 2, 5),) * 2])
def test_blocks_that_do_not_go_together(shapes: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(ValueError, match="must have one shape"):
        corrected_similarity(*(np.ones(shape) for shape in shapes))
