"""Whether a data set on disk is what it should be: every image read, every fixation counted."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from textwrap import fill

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial.distance import cdist

from deepsal.data.dataset import SaliencyDataset, Stimulus

THUMBNAIL_SIZE, DUPLICATE_TOLERANCE = 16, 3
"""Two images are one picture if their 16x16 thumbnails nowhere differ by more than 3 of 255."""


@dataclass(frozen=True)
class DatasetReport:
    """What `check_dataset` found.

    Args:
        counts: what there is, one line each.
        faults: what makes the data set unsound: unreadable images, sizes that differ, one picture
            on two sides of a split.
    """

    counts: Sequence[str]
    faults: Sequence[str]

    def __str__(self) -> str:
        """Return the report, 80 columns wide."""
        end = [_wrap_lines(f"fault: {fault}") for fault in self.faults] or ["sound"]
        return "\n".join([*self.counts, *end])


def check_dataset(dataset: SaliencyDataset) -> DatasetReport:
    """Read every image and count everything."""
    stimuli = dataset.stimuli
    faults, thumbnails, kept = [], [], []
    for position, stimulus in enumerate(stimuli):
        try:
            thumbnails.append(_thumbnail(stimulus))
        except (ValueError, OSError) as error:
            faults.append(str(error))
        else:
            kept.append(position)
    sides = {i: split for split, positions in dataset.splits.items() for i in positions}
    pairs = []
    for a, b in _duplicate_pairs(np.array(thumbnails)):
        one, other = kept[a], kept[b]
        pairs.append(f"{stimuli[one].name} = {stimuli[other].name}")
        if sides.get(one) != sides.get(other):
            where = f"{sides.get(one)} and {sides.get(other)}"
            faults.append(f"{pairs[-1]} is one picture in {where}")
    return DatasetReport(_count_lines(dataset, pairs), faults)


def _count_lines(dataset: SaliencyDataset, pairs: Sequence[str]) -> list[str]:
    stimuli = dataset.stimuli
    sizes = Counter(stimulus.size for stimulus in stimuli)
    common = ", ".join(f"{n} of {w}x{h}" for (h, w), n in sizes.most_common(3))
    numbers = [len(stimulus.fixations) for stimulus in stimuli] or [0]
    subjects = np.unique(np.concatenate([np.empty(0, np.int64), *(s.subjects for s in stimuli)]))
    left_out = ", ".join(f"{n:,} {reason}" for reason, n in dataset.dropped.items()) or "none"
    splits = ", ".join(f"{len(positions)} {split}" for split, positions in dataset.splits.items())
    return [
        dataset.name,
        f"images      {len(stimuli):,} ({splits})",
        f"sizes       {len(sizes)}: {common}" + (", …" if len(sizes) > 3 else ""),
        f"fixations   {sum(numbers):,} ({min(numbers)} to {max(numbers)} an image)",
        f"left out    {left_out}",
        f"people      {len(subjects):,}",
        f"duplicates  {len(pairs)}" + "".join(f"\n            {pair}" for pair in pairs[:10]),
    ]


def _wrap_lines(text: str) -> str:
    return fill(text, 80, subsequent_indent="       ", break_long_words=False)


def _thumbnail(stimulus: Stimulus) -> NDArray[np.float64]:
    pixels = stimulus.read()
    if tuple(pixels.shape[1:]) != stimulus.size:
        raise ValueError(
            f"{stimulus.name} has (height, width) {tuple(pixels.shape[1:])}, but its data set says "
            f"{stimulus.size}"
        )
    image = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    small = image.resize((THUMBNAIL_SIZE, THUMBNAIL_SIZE), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float64).ravel()


def _duplicate_pairs(
    thumbnails: NDArray[np.float64], block: int = 500
) -> Iterator[tuple[int, int]]:
    for start in range(0, len(thumbnails), block):
        rows = thumbnails[start : start + block]
        for a, b in np.argwhere(
            cdist(rows, thumbnails, "chebyshev") <= DUPLICATE_TOLERANCE
        ).tolist():
            if start + a < b:
                yield start + a, b
