import numpy as np
import pytest

from deepsal.rf.align import Aligned, Place
from deepsal.rf.crop import Crop
from deepsal.rf.theory import Geometry
from deepsal.rf.windowed import Box

GEOMETRY = Geometry((3, 3), (1, 1), (1, 1))


def place(patch: int, row: int = 4, column: int = 5) -> Place:
    return Place(0, patch, 0, Crop(0, 9, 0, 9, (row, column)), (row, column))


def test_answers_are_laid_over_each_other_on_the_unit() -> None:
    aligned = Aligned(GEOMETRY, (9, 9), (1, 3), None, keep=False)
    value = np.arange(81, dtype=np.float32).reshape(1, 9, 9).repeat(3, 0)
    aligned.add(place(0), value, Box(0, 9, 0, 9), 1.0)
    aligned.add(place(1, 0, 0), value, Box(0, 9, 0, 9), 2.0)
    first, corner = value[0, 3:6, 4:7], np.pad(value[0, :2, :2], ((1, 0), (1, 0)))
    assert np.array_equal(aligned.mean()[0, 0], (first + corner) / 2)
    assert aligned.centre[0, :2].tolist() == [[4, 5], [0, 0]]
    assert np.isnan(aligned.centre[0, 2]).all()
    assert aligned.count().tolist() == [2]


def test_the_direction_in_which_patches_differ_is_found() -> None:
    aligned = Aligned(GEOMETRY, (9, 9), (1, 4), None, keep=True)
    direction = np.zeros((3, 3, 3), dtype=np.float32)
    direction[1, 2, 0] = 1
    for k, size in enumerate((-3, -1, 1, 3)):
        aligned.add(place(k), 7 + size * direction, Box(3, 6, 4, 7), 0.0)
    component, variance = aligned.components(2)
    assert abs(component[0, 0, 1, 2, 0]) == pytest.approx(1, abs=1e-5)
    assert variance[0, 0] == pytest.approx(np.var([-3, -1, 1, 3], ddof=1), rel=1e-5)
    assert aligned.components(4)[1].shape == (1, 4)
    assert np.isnan(aligned.components(4)[1][0, 3])
