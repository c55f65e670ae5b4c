"""Planted fixations of people on one image or several."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from deepsal.data import GroundTruth, SaliencyDataset, Stimulus
from deepsal.metrics.scoring import ImageScorer
from deepsal.models import ObserverCeiling

SIZE = (60, 80)
SIGMA = 4.0


def stimulus(name: str, fixations: NDArray[np.float64], observers: ArrayLike) -> Stimulus:
    """Return an image of `SIZE` with fixations (N, 2) of observers (N,)."""
    who = np.asarray(observers, dtype=np.int64)
    return Stimulus(name, SIZE, fixations, who, lambda: torch.empty(0))


def dataset(stimuli: Sequence[Stimulus], test: int = 1) -> SaliencyDataset:
    """Return a data set whose last `test` images are the test images, the others for training."""
    last = len(stimuli) - test
    splits = {"train": range(last), "val": range(0), "test": range(last, len(stimuli))}
    return SaliencyDataset("planted", stimuli, splits, sigma=SIGMA)


def planted(
    spread: float | Sequence[float], people: int = 6, images: int = 12, seed: int = 0
) -> list[Stimulus]:
    """Everybody looks at the same three places of an image, give or take `spread` pixels.

    Args:
        spread: of all images, or of each in turn.
        people: each fixates each place once.
        images: number of images.
        seed: of places and fixations.
    """
    random = np.random.default_rng(seed)
    spreads = np.resize(spread, images)
    stimuli = []
    for i in range(images):
        places = random.integers(10, 50, (3, 2))
        points = np.tile(places, (people, 1)) + random.normal(0, spreads[i], (3 * people, 2))
        stimuli.append(stimulus(str(i), points.clip(0, 59), np.repeat(np.arange(people), 3)))
    return stimuli


def ceiling_scores(model: ObserverCeiling, name: str = "11") -> dict[str, float]:
    """Return the scores of a ceiling on an image."""
    scores = model.score_ceiling([name], SIZE, ImageScorer())
    return {key: value.item() for key, value in scores.items()}


def log_likelihoods(model: ObserverCeiling) -> Tensor:
    """Return the mean log likelihood of held-out fixations on each test image, in nats."""

    def score(log_density: Tensor, truth: GroundTruth) -> dict[str, Tensor]:
        total = (log_density * truth.fixations).sum((1, 2))
        return {"likelihood": total / truth.fixations.sum((1, 2))}

    names = [stimulus.name for stimulus in model.test_images]
    return model.score_ceiling(names, SIZE, score)["likelihood"]
