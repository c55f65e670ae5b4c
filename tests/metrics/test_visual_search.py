import math

import pytest
import torch

from deepsal.data.popout.popout import popout_test_arrays
from deepsal.metrics.visual_search import TargetScores, fixations_to_target, score_target
from deepsal.vocabulary import TARGET_SCORES


def test_a_map_of_the_target_alone_is_perfect_and_one_without_it_is_not() -> None:
    for array in popout_test_arrays(repeats=1, size=(96, 128))[6::7]:
        target, distractors = array.target_and_distractor_masks()
        best = score_target(target.float(), target, distractors)
        assert best == (1, math.inf, 0, 1)
        worst = score_target(distractors.float(), target, distractors)
        assert worst[:2] == (-1, 0)
        assert worst.search == math.inf
        even = score_target(torch.ones(96, 128), target, distractors)
        assert even[:3] == (0, 1, 1)


def test_fixations_visit_every_brighter_item_before_the_target() -> None:
    array = popout_test_arrays(["colour"], [1.0], size=(96, 128))[0]
    saliency = torch.zeros(96, 128)
    for i, (x, y) in enumerate(zip(array.x, array.y, strict=True)):
        saliency[int(y), int(x)] = 100 - i
    saliency[int(array.y[array.target]), int(array.x[array.target])] = 100 - 5.5
    target, distractors = array.target_and_distractor_masks()
    assert score_target(saliency, target, distractors).search == (6 if array.target < 5 else 7)


def test_inhibition_reaches_as_far_as_its_radius() -> None:
    saliency = torch.tensor([[5.0, 4.0, 0.0, 3.0, 0.0, 0.0, 2.0]])
    target = saliency == 2
    assert [fixations_to_target(saliency, target, r) for r in (0.0, 1.0, 3.0)] == [4, 3, 2]
    assert fixations_to_target(saliency, target, 0.0, max_fixations=3) == math.inf


def test_maps_that_are_no_saliency_and_empty_masks_are_refused() -> None:
    mask, none = torch.ones(4, 4, dtype=torch.bool), torch.zeros(4, 4, dtype=torch.bool)
    for wrong in (-1.0, math.nan, -math.inf):
        with pytest.raises(ValueError, match="nowhere negative"):
            score_target(torch.full((4, 4), wrong), mask, mask)
    with pytest.raises(ValueError, match="a mask is empty"):
        score_target(torch.ones(4, 4), none, mask)


def test_the_vocabulary_lists_every_target_score() -> None:
    assert tuple(TARGET_SCORES) == TargetScores._fields
