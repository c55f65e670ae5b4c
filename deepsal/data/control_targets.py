"""Data sets whose images keep nothing of their own fixations: targets of control trainings.

A network that is tuned on them sees the same images, sizes, blur and numbers of points as one that
is tuned on fixations. What both trainings do to its fields is not due to saliency.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from deepsal.data.dataset import SaliencyDataset, Stimulus

CONTROLLED_SPLITS = ("train", "val")
EDGE_SCALE_PX = 2.0
"""Standard deviation of the Gaussian derivative that finds edges, in pixels of the stored image."""
SHUFFLE_SEED = 0


def control_dataset(dataset: SaliencyDataset, control: str) -> SaliencyDataset:
    """Return a data set with other targets for its training and validation images.

    Targets are the same in every run, whatever its seed. The test images keep their fixations.

    - `shuffled_fixations`: each image has the fixations of another image of its split, rescaled
      to its size. No image keeps its own. The centre bias stays; the relation to content does not.
    - `other_task`: density of edges. Each image has as many points as it has fixations, drawn in
      proportion to the magnitude of the luminance gradient (a Gaussian derivative, Canny 1986, "A
      computational approach to edge detection"). Images are decoded for it, which takes about
      50 ms each.

    Args:
        dataset: with fixations.
        control: `shuffled_fixations` or `other_task`.

    Raises:
        ValueError: no such control, or a split of one image cannot be shuffled.
    """
    if control not in CONTROL_TARGETS:
        raise ValueError(f"control={control} is unknown; the choices are {[*CONTROL_TARGETS]}")
    stimuli = list(dataset.stimuli)
    for split in CONTROLLED_SPLITS:
        positions = dataset.splits.get(split, ())
        targets = CONTROL_TARGETS[control]([stimuli[i] for i in positions], split)
        for position, points in zip(positions, targets, strict=True):
            observers = np.zeros(len(points), np.int64)
            stimuli[position] = replace(
                stimuli[position], fixations=points, observers=observers, target_masks=None
            )
    return replace(dataset, name=f"{dataset.name} ({control})", stimuli=stimuli)


def _shuffled_fixations(stimuli: Sequence[Stimulus], split: str) -> list[NDArray[np.float64]]:
    if len(stimuli) == 1:
        raise ValueError(
            f"control=shuffled_fixations needs two images or more, and the split {split} has one"
        )
    order = np.random.default_rng(SHUFFLE_SEED).permutation(len(stimuli))
    donor = dict(zip(order, np.roll(order, 1), strict=True))  # one cycle: nobody is its own donor
    fractions = [(s.fixations + 0.5) / s.size[::-1] for s in stimuli]
    return [fractions[donor[i]] * s.size[::-1] - 0.5 for i, s in enumerate(stimuli)]


def _edge_points(stimuli: Sequence[Stimulus], _split: str) -> list[NDArray[np.float64]]:
    return [_draw_edge_points(stimulus) for stimulus in stimuli]


def _draw_edge_points(stimulus: Stimulus) -> NDArray[np.float64]:
    random = np.random.default_rng(list(stimulus.name.encode()))
    luminance = stimulus.read_checked().float().mean(0).numpy()
    edges = ndimage.gaussian_gradient_magnitude(luminance, EDGE_SCALE_PX).ravel().astype(np.float64)
    count = max(1, len(stimulus.fixations))
    weights = edges / edges.sum() if edges.sum() > 0 else None
    rows, columns = np.divmod(random.choice(len(edges), count, p=weights), stimulus.size[1])
    return np.stack([columns, rows], -1).astype(np.float64)


CONTROL_TARGETS: Mapping[str, Callable[[Sequence[Stimulus], str], list[NDArray[np.float64]]]] = {
    "shuffled_fixations": _shuffled_fixations,
    "other_task": _edge_points,
}
