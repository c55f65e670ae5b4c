"""OSIE: 700 images with many objects, 15 observers (Xu et al. 2014, J. Vision 14(1):28)."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat

from deepsal.data.sample import SaliencyDataset, Stimulus, image_size, read_image

IMAGES, FIXATIONS = 700, 98_321
TWINS = ("1279.jpg", "1374.jpg")
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
    root = Path(data_dir) / "osie" / "data"
    matrix = root / "eye" / "fixations.mat"
    if not matrix.is_file():
        raise FileNotFoundError(
            f"no OSIE here: {matrix} is missing; set data_dir=FOLDER (or DEEPSAL_DATA) to the "
            "folder that holds osie/data/, or use data=popout, which needs no files"
        )
    try:
        cells = [_cell(cell) for cell in _loaded(matrix)]
    except Exception as error:  # scipy raises half a dozen types for a file that is not MATLAB's
        raise ValueError(f"{matrix} is not OSIE's fixation file: {error!r}") from error
    stimuli = []
    for name, points in cells:
        path = root / "stimuli" / name
        if not path.is_file():
            raise FileNotFoundError(f"OSIE is incomplete: {path} is missing")
        subjects = np.repeat(np.arange(len(points)), [len(p) for p in points])
        reader = partial(read_image, path)
        stimuli.append(Stimulus(name, image_size(path), np.concatenate(points), subjects, reader))
    total = sum(len(s.fixations) for s in stimuli)
    if (len(stimuli), total) != (IMAGES, FIXATIONS):
        raise ValueError(
            f"{matrix} holds {len(stimuli)} images and {total} fixations, the release has "
            f"{IMAGES} and {FIXATIONS}; fetch it again"
        )
    splits = _splits([s.name for s in stimuli])
    return SaliencyDataset("OSIE", stimuli, splits, sigma=24.0, degree=24.0)


def _loaded(matrix: Path) -> Any:
    return loadmat(matrix, squeeze_me=True, struct_as_record=False)["fixations"]


def _cell(cell: Any) -> tuple[str, list[NDArray[np.float64]]]:
    """Return an image's name and each subject's fixations, 0-based (N, 2)."""
    axes = [(np.atleast_1d(s.fix_x), np.atleast_1d(s.fix_y)) for s in cell.subjects]
    return str(cell.img), [np.stack(xy, axis=1) - 1.0 for xy in axes]


def _splits(names: list[str]) -> dict[str, list[int]]:
    twins = [names.index(name) for name in TWINS]
    order = np.random.default_rng(2014).permutation(len(names)).tolist()
    single = [i for i in order if i not in twins]
    return {"train": single[200:] + twins, "val": single[100:200], "test": single[:100]}
