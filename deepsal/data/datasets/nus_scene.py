"""NUS scenes: 500 SUN photographs, 12 observers (Liang et al. 2015)."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat

from deepsal.data.dataset import SaliencyDataset
from deepsal.data.datasets.card import Archive, Card
from deepsal.data.datasets.reading import dataset, found, reading, split, stimulus

CARD = Card(
    name="nus_scene",
    title="NUS scenes",
    licence="MIT",
    citation="Liang, Jiang, Liang & Zhao 2015, Saliency Prediction with Scene Structural Guidance",
    images=500,
    fixations=43_894,
    subjects=12,
    seconds=5.0,
    distance=None,
    degree=None,
    sigma=8.0,
    splits="360/40/100, ours",
    archives=(Archive("https://github.com/Yanakz/Scene"),),
)
SCREEN, SHOWN = (1080, 1920), 256
"""(height, width): every coordinate is a tenth of its pixels; the height that CARD.sigma is for."""


def nus_scene(data_dir: str | Path, whole: bool = True) -> SaliencyDataset:
    """Read the NUS scenes: `nus_scene/data/stimuli/*.jpg`, `nus_scene/data/tidy/fixations.mat`.

    Images of many sizes, each shown for 5 s as large as a screen of 1920x1080 allows. A cell per
    image and observer holds rows (y, x, start_s, duration_s); 52 of the 6,000 are empty. The
    release keeps what fell into 0 < x ≤ width and 0 < y ≤ height, so its coordinates start at the
    image's corner and deepsal's, which start at the first pixel's centre, are half a pixel less.
    The blur is the release's, 8 pixels of an image 256 high, and as large on the screen for every
    image. The split into 360 training, 40 validation and 100 test images is fixed.

    Args:
        data_dir: the folder that holds `nus_scene/`.
        whole: refuse counts that are not the release's; False accepts a partial copy.

    Raises:
        FileNotFoundError: the folder or a file is missing; the message says which option to set.
        ValueError: the counts are not those of the release (500 images, 43,894 fixations).
    """
    root = Path(data_dir) / CARD.name / "data"
    file = found(root / "tidy" / "fixations.mat", CARD)
    with reading(file, CARD.title):
        cells = [[_points(cell) for cell in row] for row in loadmat(file)["fixations"]]
    dropped: Counter[str] = Counter()
    stimuli = [
        stimulus(root / "stimuli" / f"{i + 1:03d}.jpg", trains, CARD, dropped)
        for i, trains in enumerate(cells)
    ]
    stimuli = [replace(image, sigma=_sigma(image.size)) for image in stimuli]
    order = np.random.default_rng(2015).permutation(len(stimuli)).tolist()
    return dataset(CARD, stimuli, split(order, 100, 40), dropped, file, whole)


def _sigma(size: tuple[int, int]) -> float:
    """Return the blur in an image's pixels that is the same on the screen for all images.

    >>> _sigma((256, 256)), _sigma((1080, 1920)), _sigma((540, 1920))
    (8.0, 33.75, 33.75)
    """
    shown = min(of / n for of, n in zip(SCREEN, size, strict=True))
    return CARD.sigma * SCREEN[0] / SHOWN / shown


def _points(cell: NDArray[Any]) -> NDArray[np.float64]:
    """Return the (x, y) of an observer's rows (y, x, start, duration), pixel centres at integers.

    >>> _points(np.array([[12.5, 3.0, 0.3, 0.2]])).tolist()
    [[2.5, 12.0]]
    """
    rows = cell if cell.size else np.empty((0, 4))
    return rows[:, [1, 0]].astype(np.float64) - 0.5
