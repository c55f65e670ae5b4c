"""OSIE: 700 images with many objects, 15 observers (Xu et al. 2014, J. Vision 14(1):28)."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat

from deepsal.data.dataset import SaliencyDataset, Stimulus
from deepsal.data.datasets.card import ArchiveAddress, DatasetCard
from deepsal.data.datasets.reading import (
    build_dataset,
    existing_path,
    read_stimulus,
    split_positions,
    wrap_read_errors,
)

DATASET_CARD = DatasetCard(
    name="osie",
    title="OSIE",
    licence="MIT",
    citation="Xu, Jiang, Wang, Kankanhalli & Zhao 2014, Journal of Vision 14(1):28",
    images=700,
    fixations=98_321,
    subjects=15,
    seconds=3.0,
    distance=None,
    degree=24.0,
    sigma=24.0,
    splits="500/100/100, ours",
    archives=(ArchiveAddress("https://github.com/NUS-VIP/predicting-human-gaze-beyond-pixels"),),
)
DUPLICATE_IMAGES = ("1279.jpg", "1374.jpg")
"""The same picture under two names: both stay in the training split."""


def osie(data_dir: str | Path) -> SaliencyDataset:
    """Read OSIE in its release layout: `osie/data/stimuli/*.jpg`, `osie/data/eye/fixations.mat`.

    800x600 pixels, 3 s of free viewing, about 24 px to a degree, blur of one degree; the release
    counts pixels from 1, deepsal from 0. The split into 500 training, 100 validation and 100 test
    images is fixed.

    Args:
        data_dir: the folder that holds `osie/`.

    Raises:
        FileNotFoundError: the folder or a file is missing; the message says which option to set.
        ValueError: the counts are not those of the release (700 images, 98,321 fixations).
    """
    file, stimuli, dropped = read_nus_layout(Path(data_dir), DATASET_CARD)
    names = [s.name for s in stimuli]
    return build_dataset(DATASET_CARD, stimuli, _splits(names), dropped, file)


def read_nus_layout(data_dir: Path, card: DatasetCard) -> tuple[Path, list[Stimulus], Counter[str]]:
    """Read the layout that OSIE and EyeCrowd share.

    `NAME/data/stimuli/*.jpg`, and in `NAME/data/eye/fixations.mat` a cell per image with `.img`
    and `.subjects{}` of `.fix_x` and `.fix_y`, pixels counted from 1.
    """
    root = data_dir / card.name / "data"
    file = existing_path(root / "eye" / "fixations.mat", card)
    with wrap_read_errors(file, card.title):
        loaded = loadmat(file, squeeze_me=True, struct_as_record=False)["fixations"]
        cells = [_name_and_points(cell) for cell in loaded]
    dropped: Counter[str] = Counter()
    images = [(root / "stimuli" / name, trains) for name, trains in cells]
    return file, [read_stimulus(path, trains, card, dropped) for path, trains in images], dropped


def _name_and_points(cell: Any) -> tuple[str, list[NDArray[np.float64]]]:
    """Return an image's name and each subject's fixations, 0-based (N, 2)."""
    axes = [(np.atleast_1d(s.fix_x), np.atleast_1d(s.fix_y)) for s in cell.subjects]
    return str(cell.img), [np.stack(xy, axis=1) - 1.0 for xy in axes]


def _splits(names: Sequence[str]) -> dict[str, list[int]]:
    twins = [names.index(name) for name in DUPLICATE_IMAGES]
    order = np.random.default_rng(2014).permutation(len(names)).tolist()
    splits = split_positions([i for i in order if i not in twins], test=100, val=100)
    return {**splits, "train": splits["train"] + twins}
