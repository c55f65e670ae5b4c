"""Detection of fixations in raw gaze, as in the checker released with MIT1003.

The rule is that of `checkFixations.m` (Hidalgo-Sotelo 2005–06, released with Judd et al. 2009):
gaze at 240 Hz, a saccade starts where the change of windowed speed exceeds 6°/s at 34 px/° on three
samples in a row or more and ends where the deceleration does; fixations of 50 ms or less, but for
the first, belong to the saccade around them. Its oddities are reproduced, because the published
counts depend on them.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

SAMPLING_RATE = 240
ACCELERATION_THRESHOLD = 34 * 6
"""Pixels per second."""
SPEED_WINDOW, MIN_FIXATION_SAMPLES, MAX_DECELERATION_WAIT = 4, 12, 25
"""Samples: of the speed's window, a shortest fixation, and the wait for a deceleration."""


def detect_fixations(gaze: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the median position of every fixation, including the first.

    Args:
        gaze: (n, 2) x and y at 240 Hz; a blink is negative, a missing sample NaN.

    Returns:
        (fixations, 2), at least one.

    >>> still = np.full((60, 2), 100.0)
    >>> jump = np.linspace(100, 400, 8)[1:-1]
    >>> detect_fixations(np.concatenate([still, np.stack([jump, jump], 1), still + 300])).tolist()
    [[100.0, 100.0], [400.0, 400.0]]
    """
    count = len(gaze)
    moves = _saccades(_acceleration(gaze), count)
    starts = [0, *(end + 1 for _, end in moves)]
    ends = [*(start - 1 for start, _ in moves), count - 1]
    spans = [slice(a, b + 1) for a, b in zip(starts, ends, strict=True) if a < count or not moves]
    return np.array([[_median(axis) for axis in gaze[span].T] for span in spans])


def _acceleration(gaze: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the change of the windowed speed at every sample, in px/s."""
    count = len(gaze)
    acceleration = np.zeros(count)
    if count > SPEED_WINDOW + 2:
        steps = np.sqrt(np.square(np.diff(gaze, axis=0)).sum(1))
        smooth = np.convolve([0, *steps], np.ones(SPEED_WINDOW) / SPEED_WINDOW)[:count]
        sums = np.lib.stride_tricks.sliding_window_view(smooth, SPEED_WINDOW + 1).sum(1)
        speed = sums / (SPEED_WINDOW / SAMPLING_RATE)
        acceleration[1 : count - SPEED_WINDOW - 1] = (speed[1:] - speed[:-1])[1:]
    return acceleration


def _saccades(acceleration: NDArray[np.float64], count: int) -> list[tuple[int, int]]:
    """Return the first and last sample of every saccade."""
    fast = np.flatnonzero(acceleration > ACCELERATION_THRESHOLD)
    runs = np.split(fast, np.flatnonzero(np.diff(fast) > 1) + 1)
    runs = [run for run in runs if len(run) >= 3]
    saccades = []
    for run in runs:
        end = _saccade_end(acceleration, int(run[-1]), count)
        if end is None and len(runs) == 1 and run[-1] == np.flatnonzero(acceleration)[-1]:
            end = count - 1
        if end is not None:
            saccades.append((int(run[0]), end))
    return _merge_saccades(saccades, count)


def _saccade_end(acceleration: NDArray[np.float64], top: int, count: int) -> int | None:
    """Return the last decelerating sample after `top`."""
    braking = acceleration < -ACCELERATION_THRESHOLD
    for at in range(top + 1, min(top + 1 + MAX_DECELERATION_WAIT, count - 2)):
        if braking[at] and not braking[at + 1]:
            return at
    return None


def _merge_saccades(saccades: Sequence[tuple[int, int]], count: int) -> list[tuple[int, int]]:
    """Join the saccades on both sides of a fixation that is too short."""
    joined: list[tuple[int, int]] = []
    for i, (start, end) in enumerate(saccades):
        if joined and start - saccades[i - 1][1] <= MIN_FIXATION_SAMPLES:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    if joined and count - 1 - joined[-1][1] <= MIN_FIXATION_SAMPLES:
        joined[-1] = (joined[-1][0], count - 1)
    return joined


def _median(values: NDArray[np.float64]) -> float:
    valid = values[~np.isnan(values)]
    return float(np.median(valid)) if len(valid) else float("nan")
