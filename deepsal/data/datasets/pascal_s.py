"""PASCAL-S: 850 images of PASCAL VOC with fixations (Li et al. 2014, CVPR)."""

from collections import Counter
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from deepsal.data.dataset import SaliencyDataset
from deepsal.data.datasets import reading
from deepsal.data.datasets.card import DatasetCard, ReleaseArchive, ReleaseSource

DATASET_CARD = DatasetCard(
    name="pascal_s",
    title="PASCAL-S",
    citation="Li, Hou, Koch, Rehg & Yuille 2014, The Secrets of Salient Object Segmentation, CVPR",
    images=850,
    fixations=40_314,
    viewing_seconds=2.0,
    sigma=16.0,
    splits="680/85/85, ours",
    layout="pascal_s/datasets/imgs/pascal/N.jpg pascal_s/datasets/fixations/pascalFix.mat",
)
SALOBJ_ARCHIVE = ReleaseArchive(
    "https://cbs.ic.gatech.edu/salobj/download/salObj.zip",
    "e48b4e5deac08bddcaec55ce56e4d420",
    contents="datasets",
)
SOURCES = {"pascal_s": ReleaseSource((SALOBJ_ARCHIVE,))}


def pascal_s(
    data_dir: str | Path, check_counts: bool = True, split: str | None = None
) -> SaliencyDataset:
    """Read PASCAL-S: `pascal_s/datasets/imgs/pascal/N.jpg`, `…/fixations/pascalFix.mat`.

    The .mat file is an HDF5 file (MATLAB 7.3): `fixCell` refers to a 3xN array per image, rows y,
    x and observer, all counted from 1. 2 s of free viewing. The first fixation of each observer,
    near the centre, is included. The blur is a 32nd of the common width of 500 pixels, our choice.
    The split into 680 training, 85 validation and 85 test images is fixed.

    Args:
        data_dir: the folder that holds `pascal_s/`.
        check_counts: refuse counts that are not the release's; False accepts a partial copy.
        split: `all` or `val`: which images are the test images; None for the splits above.

    Raises:
        FileNotFoundError: the folder or a file is missing; the message names the option to set.
        ValueError: a foreign file, or counts that are not those of the release (850 images, 40,314
            fixations).
    """
    root = Path(data_dir) / DATASET_CARD.name / "datasets"
    file = reading.existing_path(root / "fixations" / "pascalFix.mat", DATASET_CARD)
    with reading.wrap_read_errors(file, DATASET_CARD.title), h5py.File(file, "r") as content:
        cells = [_points_by_observer(content[cell][...]) for cell in content["fixCell"][0]]
    dropped: Counter[str] = Counter()
    stimuli = [
        reading.read_stimulus(
            root / "imgs" / "pascal" / f"{i + 1}.jpg", points, DATASET_CARD, dropped
        )
        for i, points in enumerate(cells)
    ]
    splits = reading.random_splits(len(stimuli), 2014, test=85, val=85)
    return reading.build_dataset(
        DATASET_CARD, stimuli, splits, dropped, file, check_counts, split=split
    )


def _points_by_observer(rows: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Return each observer's (x, y) from rows y, x, observer, counted from 1.

    >>> _points_by_observer(np.array([[3.0, 4, 5], [1, 2, 3], [2, 2, 1]]))[1].tolist()
    [[0.0, 2.0], [1.0, 3.0]]
    """
    y, x, observer = rows if rows.shape[0] == 3 else np.empty((3, 0))
    points = np.stack([x, y], axis=1).astype(np.float64) - 1
    return [points[observer == person + 1] for person in range(int(observer.max(initial=0)))]
