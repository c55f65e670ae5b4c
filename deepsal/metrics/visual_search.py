"""Scores of a saliency map on a search array whose target is known.

Maps are saliency at the pixels of the array, non-negative: a density, not its logarithm.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

MAX_FIXATIONS = 100


class TargetScores(NamedTuple):
    """Scores of one map on one array, named as in `deepsal.vocabulary.TARGET_SCORES`.

    gsi: (T−D)/(T+D) of the mean saliency T of the target and D of the distractors, the global
    saliency index (Spratling 2012); 1 where only the target is salient, 0 without a difference ·
    msrtarget: maximum saliency of the target over that of the distractors · msrbackground: maximum
    of the background over that of the target (Kotseruba et al. 2019, BMVC) · search: number of
    fixations, from peak to peak with inhibition of return, until the target is hit; infinite if it
    is not.
    """

    gsi: float
    msrtarget: float
    msrbackground: float
    search: float


def score_target(
    saliency: Float[Tensor, "H W"],
    target: Bool[Tensor, "H W"],
    distractors: Bool[Tensor, "H W"],
    inhibition_radius: float | None = None,
    max_fixations: int = MAX_FIXATIONS,
) -> TargetScores:
    """Score a saliency map by its values on the target, the distractors and the background.

    Args:
        saliency: non-negative.
        target: pixels of the odd item.
        distractors: pixels of all other items.
        inhibition_radius: of the disc that a fixation inhibits, in pixels; None for that of a disc
            of twice the target's area.
        max_fixations: number of fixations that are tried.

    Raises:
        ValueError: a mask is empty, or a saliency is negative or not finite.

    >>> map = torch.zeros(9, 9); map[1, 1], map[4, 4], map[7, 7] = 4.0, 2.0, 1.0
    >>> target, distractors = torch.zeros(2, 9, 9, dtype=torch.bool)
    >>> target[4, 4], distractors[7, 7] = True, True
    >>> scores = score_target(map, target, distractors)
    >>> round(scores.gsi, 3), scores.msrtarget, scores.msrbackground, scores.search
    (0.333, 2.0, 2.0, 2.0)
    """
    if not (torch.isfinite(saliency).all() and (saliency >= 0).all()):
        raise ValueError("a saliency map is finite and nowhere negative; exp() a log density")
    if not target.any() or not distractors.any():
        raise ValueError("an array has a target and distractors; a mask is empty")
    parts = saliency[target], saliency[distractors], saliency[~(target | distractors)]
    on, off = (float(part.mean()) for part in parts[:2])
    peak, distractor_peak, background_peak = (float(part.max()) for part in parts)
    if inhibition_radius is None:
        inhibition_radius = math.sqrt(2 * float(target.sum()) / math.pi)
    return TargetScores(
        (on - off) / (on + off) if on + off else 0.0,
        _ratio(peak, distractor_peak),
        _ratio(background_peak, peak),
        fixations_to_target(saliency, target, inhibition_radius, max_fixations),
    )


def fixations_to_target(
    saliency: Float[Tensor, "H W"],
    target: Bool[Tensor, "H W"],
    inhibition_radius: float,
    max_fixations: int = MAX_FIXATIONS,
) -> float:
    """Return the number of fixations until the target is hit, each at the highest peak.

    After each fixation, saliency in a disc around it is set to 0. The number is infinite if
    `max_fixations` do not hit the target or the map is 0 before.

    >>> map = torch.tensor([[3.0, 0.0, 0.0, 2.0, 0.0, 1.0]])
    >>> fixations_to_target(map, map == 1, inhibition_radius=1.0)
    3.0
    """
    remaining = saliency.clone()
    rows, columns = (torch.arange(n) for n in saliency.shape)
    for count in range(1, max_fixations + 1):
        y, x = divmod(int(remaining.argmax()), saliency.shape[1])
        if remaining[y, x] <= 0:
            break
        if target[y, x]:
            return float(count)
        distance = (rows[:, None] - y).square() + (columns - x).square()
        remaining[distance <= inhibition_radius**2] = 0
    return math.inf


def _ratio(over: float, under: float) -> float:
    if under:
        return over / under
    return math.inf if over else 1.0
