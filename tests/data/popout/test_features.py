import numpy as np
import pytest

from deepsal.data.popout.features import (
    ITEM_COLOURS,
    POPOUT_FEATURES,
    ArrayItems,
    bar_outline,
    disc_to_triangle_outline,
    lab_to_srgb,
    ring_outline,
)


def items(ground: int = 120) -> ArrayItems:
    return ArrayItems(12, ITEM_COLOURS[0], np.full(12, 0.3), ground)


def options(of: ArrayItems, i: int) -> tuple[object, ...]:
    outlines = tuple(outline.tobytes() for outline in of.outlines[i])
    return tuple(of.colours[i].tolist()), round(float(of.angles[i]), 6), of.sizes[i], outlines


@pytest.mark.parametrize("feature", [f for f in POPOUT_FEATURES if f not in {"gap", "closed"}])
@pytest.mark.parametrize("contrast", [0.2, 1.0])
def test_the_target_is_unlike_every_distractor(feature: str, contrast: float) -> None:
    array = items()
    POPOUT_FEATURES[feature](array, 5, contrast, np.random.default_rng(0))
    assert options(array, 5) not in {options(array, i) for i in range(12) if i != 5}


@pytest.mark.parametrize("feature", POPOUT_FEATURES)
def test_colours_are_bytes_on_the_darkest_and_lightest_ground(feature: str) -> None:
    for ground in (105, 149):
        array = items(ground)
        POPOUT_FEATURES[feature](array, 5, 1.0, np.random.default_rng(1))
        assert array.colours.min() >= 0
        assert array.colours.max() <= 255


def test_a_conjunction_shares_one_feature_with_each_half_of_its_distractors() -> None:
    array = items()
    POPOUT_FEATURES["conjunction"](array, 5, 1.0, np.random.default_rng(0))
    others = [i for i in range(12) if i != 5]
    colour = [(array.colours[i] == array.colours[5]).all() for i in others]
    angle = [np.isclose(array.angles[i], array.angles[5]) for i in others]
    assert all(a != b for a, b in zip(colour, angle, strict=True))
    assert 5 <= sum(colour) <= 6


def test_hues_differ_by_the_contrast_and_not_in_lightness() -> None:
    first, second = lab_to_srgb(62.0, 36.0, 0.4), lab_to_srgb(62.0, 36.0, 0.4 + np.pi)
    weights = np.array([0.2126, 0.7152, 0.0722])
    luminance = [weights @ (c / 255) ** 2.2 for c in (first, second)]
    assert luminance[0] == pytest.approx(luminance[1], rel=0.03)
    assert np.abs(first - second).max() > 60


def test_outlines_have_the_areas_they_say() -> None:
    def area(outline: object) -> float:
        x, y = np.asarray(outline).T
        return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2)

    assert area(disc_to_triangle_outline(1.0)) == pytest.approx(
        area(disc_to_triangle_outline(0.0)), rel=0.01
    )
    assert area(ring_outline(np.pi)) == pytest.approx(area(ring_outline()) / 2, rel=0.02)
    assert area(bar_outline(2.0)) == 2 * area(bar_outline())
