import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from deepsal.data.popout.features import POPOUT_FEATURES
from deepsal.data.popout.popout import popout_test_arrays
from deepsal.data.popout.search_array import ArrayOptions, SearchArray

SIZE = (96, 128)


def chosen(index: int, feature: str) -> SearchArray:
    return SearchArray(0, index, feature, ArrayOptions(SIZE))


def distances(array: SearchArray) -> NDArray[np.float64]:
    points = array.sample_fixations(60) + 0.5
    offset = points - (array.x[array.target], array.y[array.target])
    distance: NDArray[np.float64] = np.hypot(*offset.T)
    return distance


@pytest.mark.parametrize("index", range(8))
def test_a_colour_target_is_the_only_bar_of_its_colour(index: int) -> None:
    array = chosen(index, "colour")
    same = (array.items.colours == array.items.colours[array.target]).all(1)
    assert same.nonzero()[0].tolist() == [array.target]
    assert len(np.unique(array.items.colours, axis=0)) == 2


@pytest.mark.parametrize("index", range(8))
def test_an_orientation_target_is_turned_far_from_the_others(index: int) -> None:
    array = chosen(index, "orientation")
    away = np.abs(np.sin(array.items.angles - array.items.angles[array.target]))
    assert np.delete(away, array.target).min() > np.sin(np.pi / 4 - 0.4)
    assert len(np.unique(array.items.colours, axis=0)) == 1


@pytest.mark.parametrize("index", range(4))
def test_the_drawn_target_has_its_colour_where_it_is_said_to_be(index: int) -> None:
    array = chosen(index, "colour")
    image = array.render_image()
    for x, y, colour in zip(array.x, array.y, array.items.colours, strict=True):
        assert np.abs(image[:, int(y), int(x)].numpy().astype(int) - colour).max() <= 40


@pytest.mark.parametrize("feature", ["colour", "orientation"])
def test_most_fixations_are_near_the_target(feature: str) -> None:
    near = [distances(chosen(index, feature)) < 0.1 * SIZE[1] for index in range(6)]
    assert np.concatenate(near).mean() > 0.6


@pytest.mark.parametrize("feature", POPOUT_FEATURES)
def test_masks_cover_the_items_and_the_target_is_at_its_place(feature: str) -> None:
    array = SearchArray(3, 1, feature, ArrayOptions((192, 256)), contrast=1.0)
    target, distractors = array.target_and_distractor_masks()
    assert not (target & distractors).any()
    rows, columns = target.nonzero().double().T.numpy() + 0.5
    centre = array.x[array.target], array.y[array.target]
    assert np.hypot(columns - centre[0], rows - centre[1]).max() < 0.5 * array.pitch
    ground = (array.render_image() == array.background).all(0)
    assert not (ground & (target | distractors)).any()
    assert (ground | target | distractors).float().mean() > 0.85  # the rest are soft edges


def test_contrasts_change_the_target_and_nothing_else() -> None:
    for feature in ("colour", "orientation", "larger", "shape"):
        low, high = popout_test_arrays([feature], [0.2, 1.0], size=SIZE)
        assert np.array_equal(low.x, high.x)
        changed = (low.render_image() != high.render_image()).any(0)
        either = low.target_and_distractor_masks()[0] | high.target_and_distractor_masks()[0]
        grown = torch.nn.functional.max_pool2d(either[None].float(), 5, 1, 2)[0].bool()
        assert changed.any()
        assert not (changed & ~grown).any()


def test_rows_jitter_and_background_are_obeyed() -> None:
    array = SearchArray(0, 0, "colour", ArrayOptions(SIZE, (3, 3), 0.0, (40, 40)))
    assert len(array.x) == 12
    assert np.allclose(np.unique(array.y), [16, 48, 80])
    assert array.render_image()[:, 0, 0].tolist() == [40, 40, 40]


@pytest.mark.parametrize(
    ("option", "value"),
    [("rows", (1, 4)), ("rows", (5, 4)), ("jitter", 0.4), ("background", (10, 300))],
)
def test_a_look_out_of_range_is_named(option: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"{option}="):
        ArrayOptions(SIZE, **{option: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("contrast", [0.0, -1.0, 1.1])
def test_a_contrast_out_of_range_is_named(contrast: float) -> None:
    with pytest.raises(ValueError, match="contrasts="):
        SearchArray(0, 0, "colour", ArrayOptions(SIZE), contrast)
