"""Mixture of several data sets."""

from collections.abc import Sequence
from dataclasses import replace

from deepsal.data.dataset import SPLIT_NAMES, SaliencyDataset, Stimulus


def mix_datasets(
    datasets: Sequence[SaliencyDataset], weights: Sequence[float] | None = None
) -> SaliencyDataset:
    """Concatenate data sets, split by split.

    Every stimulus has the blur of its own data set, and is named DATASET/NAME.

    Args:
        datasets: two or more.
        weights: relative share of each data set in the training images; None for equal frequency
            of all images.

    Raises:
        ValueError: the number of weights is not that of the data sets, a weight is negative, or a
            data set comes twice.
    """
    names = [dataset.name for dataset in datasets]
    if len(set(names)) < len(names):
        raise ValueError(f"a data set is mixed with itself: {names}")
    if weights is not None and (len(weights) != len(names) or min(weights, default=0) < 0):
        raise ValueError(f"data.dataset.weights={list(weights)} must be one per set of {names}")
    stimuli: list[Stimulus] = []
    sampling_weights: list[float] = []
    splits: dict[str, list[int]] = {split: [] for split in SPLIT_NAMES}
    for i, dataset in enumerate(datasets):
        first = len(stimuli)
        for stimulus in dataset.stimuli:
            sigma = stimulus.sigma or dataset.sigma
            stimuli.append(replace(stimulus, name=f"{dataset.name}/{stimulus.name}", sigma=sigma))
        for split, members in dataset.splits.items():
            splits.setdefault(split, []).extend(first + position for position in members)
        train = len(dataset.splits.get("train", []))
        share = weights[i] / train if weights is not None and train else 0.0
        sampling_weights += [share] * len(dataset.stimuli)
    resolutions = {dataset.pixels_per_degree for dataset in datasets}
    return SaliencyDataset(
        " + ".join(names),
        stimuli,
        splits,
        datasets[0].sigma,
        resolutions.pop() if len(resolutions) == 1 else None,
        {f"{d.name}: {reason}": n for d in datasets for reason, n in d.dropped.items()},
        any(dataset.fixations_hidden for dataset in datasets),
        sampling_weights if weights is not None else None,
    )
