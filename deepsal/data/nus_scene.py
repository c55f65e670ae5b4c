"""NUS scenes: 500 SUN photographs, 12 observers (Liang et al. 2015, Neurocomputing)."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat

from deepsal.data.sample import SaliencyDataset, Stimulus, image_size, read_image

IMAGES, SUBJECTS, FIXATIONS = 500, 12, 43_894


def nus_scene(data_dir: str | Path) -> SaliencyDataset:
    """Read the NUS scenes: `nus_scene/data/stimuli/*.jpg`, `nus_scene/data/tidy/fixations.mat`.

    Images of many sizes, each shown for 5 s as large as a 1080-pixel-high screen allows. A cell
    per image and observer holds rows (y, x, start_s, duration_s); 52 of the 6,000 are empty. The
    release keeps what fell into 0 < x ≤ width and 0 < y ≤ height, so its coordinates start at the
    image's corner and deepsal's, which start at the first pixel's centre, are half a pixel less.
    The blur is the release's, 8 pixels of an image 256 high. The split into 360 training, 40
    validation and 100 test images is fixed.

    Args:
        data_dir: the folder that holds `nus_scene/`.

    Raises:
        FileNotFoundError: the folder or a file is missing; the message says which option to set.
        ValueError: the counts are not those of the release (500 images, 43,894 fixations).
    """
    root = Path(data_dir) / "nus_scene" / "data"
    matrix = root / "tidy" / "fixations.mat"
    if not matrix.is_file():
        raise FileNotFoundError(
            f"no NUS scenes here: {matrix} is missing; set data_dir=FOLDER (or DEEPSAL_DATA) to "
            "the folder that holds nus_scene/data/, or use data=popout, which needs no files"
        )
    try:
        cells = [[_points(cell) for cell in row] for row in loadmat(matrix)["fixations"]]
    except Exception as error:  # scipy raises half a dozen types for a file that is not MATLAB's
        raise ValueError(f"{matrix} is not the scenes' fixation file: {error!r}") from error
    stimuli = []
    for i, points in enumerate(cells):
        path = root / "stimuli" / f"{i + 1:03d}.jpg"
        if not path.is_file():
            raise FileNotFoundError(f"the NUS scenes are incomplete: {path} is missing")
        subjects = np.repeat(np.arange(len(points)), [len(p) for p in points])
        reader = partial(read_image, path)
        size = image_size(path)
        stimuli.append(Stimulus(path.name, size, np.concatenate(points), subjects, reader))
    total = sum(len(s.fixations) for s in stimuli)
    if (len(stimuli), total) != (IMAGES, FIXATIONS):
        raise ValueError(
            f"{matrix} holds {len(stimuli)} images and {total} fixations, the release has "
            f"{IMAGES} and {FIXATIONS}; fetch it again"
        )
    order = np.random.default_rng(2015).permutation(IMAGES).tolist()
    splits = {"train": order[140:], "val": order[100:140], "test": order[:100]}
    return SaliencyDataset("NUS scenes", stimuli, splits, sigma=8.0)


def _points(cell: NDArray[Any]) -> NDArray[np.float64]:
    """Return the (x, y) of an observer's rows (y, x, start, duration), pixel centres at integers.

    >>> _points(np.array([[12.5, 3.0, 0.3, 0.2]])).tolist()
    [[2.5, 12.0]]
    """
    rows = cell if cell.size else np.empty((0, 4))
    return rows[:, [1, 0]].astype(np.float64) - 0.5
