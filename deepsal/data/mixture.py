"""Several data sets as one."""

from collections.abc import Sequence
from dataclasses import replace

from deepsal.data.dataset import SPLIT_NAMES, SaliencyDataset, Stimulus


def mix_datasets(
    datasets: Sequence[SaliencyDataset], weights: Sequence[float] | None = None
) -> SaliencyDataset:
    """Return the concatenation of data sets, each split with each split.

    Every stimulus keeps the blur of its own set, and is called SET/NAME.

    Args:
        datasets: two or more.
        weights: the share of each set in what is drawn for training, in any unit; None for all
            images alike.

    Raises:
        ValueError: as many weights as sets are needed, none negative; a set comes twice.
    """
    names = [dataset.name for dataset in datasets]
    if len(set(names)) < len(names):
        raise ValueError(f"a data set is mixed with itself: {names}")
    if weights is not None and (len(weights) != len(names) or min(weights, default=0) < 0):
        raise ValueError(f"data.dataset.weights={list(weights)} must be one per set of {names}")
    stimuli: list[Stimulus] = []
    chances: list[float] = []
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
        chances += [share] * len(dataset.stimuli)
    degrees = {dataset.degree for dataset in datasets}
    return SaliencyDataset(
        " + ".join(names),
        stimuli,
        splits,
        datasets[0].sigma,
        degrees.pop() if len(degrees) == 1 else None,
        {f"{d.name}: {why}": n for d in datasets for why, n in d.dropped.items()},
        any(dataset.hidden for dataset in datasets),
        chances if weights is not None else None,
    )
