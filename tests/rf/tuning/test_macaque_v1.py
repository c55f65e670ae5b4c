import numpy as np
import pytest

from deepsal.rf.tuning.macaque_v1 import CELL_HISTOGRAMS, bin_counts, v1_similarity


def cells(name: str) -> np.ndarray:
    histogram = CELL_HISTOGRAMS[name]
    return np.repeat(np.mean([histogram.edges[:-1], histogram.edges[1:]], 0), histogram.counts)


@pytest.mark.parametrize("name", CELL_HISTOGRAMS)
def test_cells_are_as_similar_to_cells_as_the_published_ceiling_says(name: str) -> None:
    similarity = v1_similarity(cells(name), name)
    expected = 1 if CELL_HISTOGRAMS[name].ceiling else 0.95
    assert similarity.estimate == pytest.approx(expected, abs=0.01)
    assert similarity.low < similarity.estimate < similarity.high
    assert similarity.count == sum(CELL_HISTOGRAMS[name].counts)


@pytest.mark.parametrize("name", CELL_HISTOGRAMS)
def test_histograms_have_the_published_median_and_a_count_per_bin(name: str) -> None:
    histogram = CELL_HISTOGRAMS[name]
    share = np.cumsum([0, *histogram.counts]) / sum(histogram.counts)
    edges = np.array(histogram.edges)
    axis = edges if name == "ssi" else np.log(edges)
    median = np.interp(0.5, share, axis)
    assert (median if name == "ssi" else np.exp(median)) == pytest.approx(
        histogram.median, rel=0.05
    )
    assert bin_counts(cells(name), name).tolist() == [*histogram.counts]


def test_a_population_without_suppression_has_the_published_score() -> None:
    assert round(v1_similarity(np.zeros(7), "ssi").estimate, 3) == 0.363


def test_a_population_in_the_further_outer_bin_is_not_similar_at_all() -> None:
    assert v1_similarity(np.full(7, 1.9), "ssi").estimate == pytest.approx(0)
    assert v1_similarity(np.full(7, 99.0), "ssi").estimate == pytest.approx(0)


def test_without_values_there_is_no_similarity() -> None:
    similarity = v1_similarity(np.full(3, np.nan), "summation_field")
    assert np.isnan(similarity.estimate)
    assert similarity.count == 0
