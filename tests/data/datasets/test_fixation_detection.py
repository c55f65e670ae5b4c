"""The counts and medians below were given by the release's checker under GNU Octave 7.3."""

import numpy as np
import pytest
from numpy.typing import NDArray

from deepsal.data.datasets.fixation_detection import detect_fixations


def walk(seed: int, count: int = 720) -> NDArray[np.float64]:
    """Still, jump, still, …: a trial of three seconds with two blinks."""
    random = np.random.default_rng(seed)
    here = random.uniform(0, 1024, 2)
    parts: list[NDArray[np.float64]] = []
    while sum(len(part) for part in parts) < count:
        length = int(random.integers(2, 100))
        parts.append(np.round(here + random.normal(0, 1.5, (length, 2))))
        target = random.uniform(0, 1024, 2)
        way = np.linspace(0, 1, int(random.integers(3, 16)))[1:-1, None]
        parts.append(np.round(here + (target - here) * way * way * (3 - 2 * way)))
        here = target
    gaze = np.concatenate(parts)[:count]
    gaze[200:212] = gaze[500:530] = -8
    return gaze


def test_a_trial_is_cut_as_the_releases_checker_cuts_it() -> None:
    expected = [
        [653, 276], [965, 374], [192, 688], [713, 336], [264, 159.5], [748, 582], [866, 140],
        [723, 462], [-8, -8], [809, 281], [618, 100],
    ]  # fmt: skip
    assert detect_fixations(walk(0)).tolist() == expected


def test_forty_trials_are_cut_as_the_releases_checker_cuts_them() -> None:
    fixations = [detect_fixations(walk(seed)) for seed in range(40)]
    assert [len(places) for places in fixations] == [
        11, 12, 9, 14, 9, 12, 13, 11, 11, 11, 12, 10, 14, 12, 11, 13, 11, 14, 10, 11,
        11, 11, 13, 13, 11, 12, 11, 12, 12, 13, 10, 12, 10, 11, 13, 12, 12, 11, 12, 12,
    ]  # fmt: skip
    assert sum(places.sum() for places in fixations) == 444_000.5


@pytest.mark.parametrize("count", [1, 2, 5, 6, 7, 40])
def test_still_gaze_is_one_fixation_however_short(count: int) -> None:
    assert detect_fixations(np.full((count, 2), 7.0)).tolist() == [[7, 7]]


def test_a_missing_sample_does_not_hide_the_median() -> None:
    gaze = np.full((100, 2), 7.0)
    gaze[40:44] = np.nan
    assert detect_fixations(gaze).tolist() == [[7, 7]]
    assert np.isnan(detect_fixations(np.full((100, 2), np.nan))).all()
