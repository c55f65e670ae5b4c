"""Check of a data set on disk: reads every image, counts every fixation, finds duplicates."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from textwrap import fill

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial.distance import cdist

from deepsal.data.dataset import SaliencyDataset, Stimulus

THUMBNAIL_SIZE = 16
DUPLICATE_TOLERANCE = 3
"""Two images are duplicates if their 16x16 thumbnails nowhere differ by more than 3 of 255."""


@dataclass(frozen=True)
class DatasetReport:
    """Counts and faults of a data set.

    Args:
        counts: lines of counts.
        faults: unreadable images, sizes that differ from the stated ones, duplicates in two splits.
    """

    counts: Sequence[str]
    faults: Sequence[str]

    def __str__(self) -> str:
        """Return the report, 80 columns wide."""
        indent = "       "
        faults = [
            fill(f"fault: {fault}", 80, subsequent_indent=indent, break_long_words=False)
            for fault in self.faults
        ]
        return "\n".join([*self.counts, *(faults or ["sound"])])


def check_dataset(dataset: SaliencyDataset) -> DatasetReport:
    """Read every image and count images, sizes, fixations, observers and duplicates."""
    stimuli = dataset.stimuli
    faults, thumbnails, positions = [], [], []
    for position, stimulus in enumerate(stimuli):
        try:
            thumbnails.append(_thumbnail(stimulus))
            positions.append(position)
        except (ValueError, OSError) as error:
            faults.append(str(error))
    split_of = {i: split for split, members in dataset.splits.items() for i in members}
    pairs = []
    for a, b in _duplicate_pairs(np.array(thumbnails)):
        one, other = positions[a], positions[b]
        pairs.append(f"{stimuli[one].name} = {stimuli[other].name}")
        if split_of.get(one) != split_of.get(other):
            where = f"{split_of.get(one)} and {split_of.get(other)}"
            faults.append(f"{pairs[-1]} is one picture in {where}")
    return DatasetReport(_count_lines(dataset, pairs), faults)


def _count_lines(dataset: SaliencyDataset, pairs: Sequence[str]) -> list[str]:
    stimuli = dataset.stimuli
    sizes = Counter(stimulus.size for stimulus in stimuli)
    common = ", ".join(f"{n} of {w}x{h}" for (h, w), n in sizes.most_common(3))
    numbers = [len(stimulus.fixations) for stimulus in stimuli] or [0]
    observers = {int(who) for stimulus in stimuli for who in np.unique(stimulus.observers)}
    left_out = ", ".join(f"{n:,} {reason}" for reason, n in dataset.dropped.items()) or "none"
    splits = ", ".join(f"{len(members)} {split}" for split, members in dataset.splits.items())
    return [
        dataset.name,
        f"images      {len(stimuli):,} ({splits})",
        f"sizes       {len(sizes)}: {common}" + (", …" if len(sizes) > 3 else ""),
        f"fixations   {sum(numbers):,} ({min(numbers)} to {max(numbers)} an image)",
        f"left out    {left_out}",
        f"people      {len(observers):,}",
        f"duplicates  {len(pairs)}" + "".join(f"\n            {pair}" for pair in pairs[:10]),
    ]


def _thumbnail(stimulus: Stimulus) -> NDArray[np.float64]:
    image = Image.fromarray(stimulus.read_checked().permute(1, 2, 0).numpy())
    small = image.resize((THUMBNAIL_SIZE, THUMBNAIL_SIZE), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float64).ravel()


def _duplicate_pairs(
    thumbnails: NDArray[np.float64], block: int = 500
) -> Iterator[tuple[int, int]]:
    for start in range(0, len(thumbnails), block):
        distances = cdist(thumbnails[start : start + block], thumbnails, "chebyshev")
        for a, b in np.argwhere(distances <= DUPLICATE_TOLERANCE).tolist():
            if start + a < b:
                yield start + a, b
