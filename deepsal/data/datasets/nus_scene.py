"""NUS scenes: 500 SUN photographs, 12 observers (Liang et al. 2015)."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat

from deepsal.data.dataset import SaliencyDataset
from deepsal.data.datasets import reading
from deepsal.data.datasets.card import DatasetCard, ReleaseSource

DATASET_CARD = DatasetCard(
    name="nus_scene",
    title="NUS scenes",
    licence="MIT",
    citation="Liang, Jiang, Liang & Zhao 2015, Saliency Prediction with Scene Structural Guidance",
    images=500,
    fixations=43_894,
    observers=12,
    viewing_seconds=3.0,
    sigma=8.0,
    splits="360/40/100, ours",
    layout="nus_scene/data/stimuli/*.jpg nus_scene/data/tidy/fixations.mat",
)
SOURCES = {
    "nus_scene": ReleaseSource(
        repository="https://raw.githubusercontent.com/Yanakz/Scene/"
        "2cf042b013181a6339378827d094aafa9322ba0d"
    )
}
SCREEN_SIZE = (1080, 1920)
"""(height, width) of the screen; every coordinate is a tenth of its pixels."""
BLUR_REFERENCE_HEIGHT = 256
"""Height of the image that `DATASET_CARD.sigma` is stated for."""


def nus_scene(
    data_dir: str | Path, check_counts: bool = True, split: str | None = None
) -> SaliencyDataset:
    """Read the NUS scenes: `nus_scene/data/stimuli/*.jpg`, `nus_scene/data/tidy/fixations.mat`.

    Images of many sizes, each shown for 3 s as large as a screen of 1920x1080 allows. A cell per
    image and observer holds rows (y, x, start_s, duration_s); 52 of the 6,000 are empty. The
    release has the fixations in 0 < x ≤ width and 0 < y ≤ height: its coordinates start at the
    image's corner. deepsal's start at the first pixel's centre and are half a pixel less. The blur
    is the release's, 8 pixels of an image 256 high, and as large on the screen for every image.
    The split into 360 training, 40 validation and 100 test images is fixed.

    Args:
        data_dir: the folder that holds `nus_scene/`.
        check_counts: refuse counts that are not the release's; False accepts a partial copy.
        split: `all` or `val`: which images are the test images; None for the splits above.

    Raises:
        FileNotFoundError: the folder or a file is missing; the message names the option to set.
        ValueError: the counts are not those of the release (500 images, 43,894 fixations).
    """
    root = Path(data_dir) / DATASET_CARD.name / "data"
    file = reading.existing_path(root / "tidy" / "fixations.mat", DATASET_CARD)
    with reading.wrap_read_errors(file, DATASET_CARD.title):
        cells = [[_points(cell) for cell in row] for row in loadmat(file)["fixations"]]
    dropped: Counter[str] = Counter()
    stimuli = [
        reading.read_stimulus(root / "stimuli" / f"{i + 1:03d}.jpg", points, DATASET_CARD, dropped)
        for i, points in enumerate(cells)
    ]
    stimuli = [replace(stimulus, sigma=_blur_sigma(stimulus.size)) for stimulus in stimuli]
    splits = reading.random_splits(len(stimuli), 2015, test=100, val=40)
    return reading.build_dataset(
        DATASET_CARD, stimuli, splits, dropped, file, check_counts, split=split
    )


def _blur_sigma(size: tuple[int, int]) -> float:
    """Return the blur in an image's pixels that is the same on the screen for all images.

    >>> _blur_sigma((256, 256)), _blur_sigma((1080, 1920)), _blur_sigma((540, 1920))
    (8.0, 33.75, 33.75)
    """
    magnification = min(screen / n for screen, n in zip(SCREEN_SIZE, size, strict=True))
    return DATASET_CARD.sigma * SCREEN_SIZE[0] / BLUR_REFERENCE_HEIGHT / magnification


def _points(cell: NDArray[Any]) -> NDArray[np.float64]:
    """Return the (x, y) of an observer's rows (y, x, start, duration), pixel centres at integers.

    >>> _points(np.array([[12.5, 3.0, 0.3, 0.2]])).tolist()
    [[2.5, 12.0]]
    """
    rows = cell if cell.size else np.empty((0, 4))
    return rows[:, [1, 0]].astype(np.float64) - 0.5
