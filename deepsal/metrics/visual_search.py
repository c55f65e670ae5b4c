"""Whether a map finds the odd item of a search array whose place is known.

Maps are saliency at the pixels of the array, non-negative: a density, not its logarithm.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor


class TargetScores(NamedTuple):
    """Scores of one map on one array.

    gsi: (T−D)/(T+D) of the mean saliency T on the target and D on the distractors (the global
    saliency index of Spratling 2012): 1 finds the target alone, 0 no difference · target_ratio:
    highest saliency of the target over that of the distractors · background_ratio: highest of the
    background over that of the target (Kotseruba et al. 2019, BMVC) · fixations: how many, from
    peak to peak with inhibition of return, until the target is hit; infinite if it is not.
    """

    gsi: float
    target_ratio: float
    background_ratio: float
    fixations: float


def score_target(
    saliency: Float[Tensor, "H W"],
    target: Bool[Tensor, "H W"],
    distractors: Bool[Tensor, "H W"],
    radius: float | None = None,
    limit: int = 100,
) -> TargetScores:
    """Return the scores of a map.

    Args:
        saliency: non-negative.
        target: the odd item's pixels.
        distractors: those of all other items.
        radius: of the disc that a fixation inhibits, in pixels; None for half the diameter of a
            disc twice as large as the target.
        limit: how many fixations are tried.

    Raises:
        ValueError: a mask is empty, or a saliency is negative or not finite.

    >>> map = torch.zeros(9, 9); map[1, 1], map[4, 4], map[7, 7] = 4.0, 2.0, 1.0
    >>> target, distractors = torch.zeros(2, 9, 9, dtype=torch.bool)
    >>> target[4, 4], distractors[7, 7] = True, True
    >>> gsi, of_target, of_background, found = score_target(map, target, distractors)
    >>> round(gsi, 3), of_target, of_background, found
    (0.333, 2.0, 2.0, 2.0)
    """
    if not (torch.isfinite(saliency).all() and (saliency >= 0).all()):
        raise ValueError("a saliency map is finite and nowhere negative; exp() a log density")
    if not target.any() or not distractors.any():
        raise ValueError("an array has a target and distractors; a mask is empty")
    here, there = float(saliency[target].mean()), float(saliency[distractors].mean())
    background = saliency[~(target | distractors)]
    peaks = [float(part.max()) for part in (saliency[target], saliency[distractors], background)]
    if radius is None:
        radius = math.sqrt(2 * float(target.sum()) / math.pi)
    return TargetScores(
        (here - there) / (here + there) if here + there else 0.0,
        _ratio(peaks[0], peaks[1]),
        _ratio(peaks[2], peaks[0]),
        fixations_to_target(saliency, target, radius, limit),
    )


def fixations_to_target(
    saliency: Float[Tensor, "H W"], target: Bool[Tensor, "H W"], radius: float, limit: int = 100
) -> float:
    """Return how many fixations, each at the highest peak left, it takes to hit the target.

    Around each a disc is inhibited. Infinite if the limit or an empty map comes first.

    >>> map = torch.tensor([[3.0, 0.0, 0.0, 2.0, 0.0, 1.0]])
    >>> fixations_to_target(map, map == 1, radius=1.0)
    3.0
    """
    left = saliency.clone()
    rows, columns = (torch.arange(n) for n in left.shape)
    for count in range(1, limit + 1):
        place = int(left.argmax())
        y, x = divmod(place, left.shape[1])
        if left[y, x] <= 0:
            break
        if target[y, x]:
            return float(count)
        left[(rows[:, None] - y).square() + (columns - x).square() <= radius**2] = 0
    return math.inf


def _ratio(over: float, under: float) -> float:
    if under:
        return over / under
    return math.inf if over else 1.0
