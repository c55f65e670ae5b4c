import numpy as np
import pytest

from deepsal.rf.plot.tiles import (
    SIGNED_COLOURS,
    TILE_SIDE,
    display_side,
    field_tiles,
    resampling_matrix,
)
from tests.rf.plot.support import BLUE, DEAD, RED, WHITE, box, flat, of, spot


def test_the_panel_holds_the_field_and_little_more() -> None:
    assert display_side(np.concatenate([spot(), spot(), flat(41)]).mean(1)) == 5
    assert display_side(spot(at=18).mean(1)) == 9
    assert display_side(spot(at=4, side=10).mean(1)) == 5
    assert display_side(DEAD.mean(1)) == 41
    assert display_side(0 * spot().mean(1)) == 41
    assert display_side(np.ones((1, 8, 12), np.float32)) == 12


@pytest.mark.parametrize("shape", [(9, 9), (8, 8), (7, 12), (10, 5)])
def test_the_shown_side_is_the_first_square_with_98_percent(shape: tuple[int, int]) -> None:
    height, width = shape
    y, x = (np.arange(n) - (n - 1) // 2 for n in shape)
    maps = np.random.default_rng(0).normal(size=(5, *shape)).astype(np.float32)
    maps *= np.exp(-(y[:, None] ** 2 + x**2) / 6).astype(np.float32)

    def share(side: int) -> float:
        top, left = (max((n - side) // 2, 0) for n in shape)
        inside = np.abs(maps[:, top : top + min(side, height), left : left + min(side, width)])
        return float(np.median(inside.sum((1, 2)) / np.abs(maps).sum((1, 2))))

    sides = [side for side in range(3, max(shape), 2) if share(side) >= 0.98]
    assert display_side(maps) == (sides or [max(shape)])[0]


def test_every_panel_has_its_own_scale_symmetric_about_zero() -> None:
    maps = np.concatenate([spot(), 1000 * spot(), -0.5 * spot()]).mean(1)
    maps[:, 20, 20] /= -4
    weak, strong, opposite = field_tiles(maps, 5)
    assert np.array_equal(weak, strong)
    assert (weak[0, 0] == RED).all()
    assert (opposite[0, 0] == BLUE).all()
    assert (weak[TILE_SIDE // 2, TILE_SIDE // 2] == SIGNED_COLOURS[95]).all()


def test_a_tile_keeps_the_shape_of_a_field_that_is_not_square() -> None:
    wide = np.ones((1, 9, 41), np.float32)
    top, bottom, left, right = box(of(RED, field_tiles(wide, 41, 82)[0]))
    assert (top, bottom, left, right) == (32, 50, 0, 82)
    assert of(WHITE, field_tiles(wide, 41, 82)[0]).sum() == (82 - 18) * 82


def test_a_tile_averages_where_it_shrinks_and_repeats_where_it_enlarges() -> None:
    values = np.arange(6, dtype=np.float32)
    assert (resampling_matrix(6, 6, 3) @ values).tolist() == [0.5, 2.5, 4.5]
    assert (resampling_matrix(6, 6, 12) @ values).tolist() == np.repeat(values, 2).tolist()
    assert resampling_matrix(129, 101, TILE_SIDE).sum(1) == pytest.approx(1)
    assert resampling_matrix(3, 5, 5).sum(1).tolist() == [0, 1, 1, 1, 0]
