"""Toronto: 120 photographs, 20 observers (Bruce & Tsotsos 2007, J. Vision)."""

from collections import Counter
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from deepsal.data.dataset import SaliencyDataset
from deepsal.data.datasets.card import ArchiveAddress, DatasetCard
from deepsal.data.datasets.reading import (
    build_dataset,
    existing_path,
    read_stimulus,
    split_positions,
    wrap_read_errors,
)

DATASET_CARD = DatasetCard(
    name="toronto",
    title="Toronto",
    licence=None,
    citation="Bruce & Tsotsos 2007, Attention Based on Information Maximization, J. Vision",
    images=120,
    fixations=11_199,
    subjects=20,
    seconds=4.0,
    distance=None,
    degree=None,
    sigma=21.0,
    splits="80/20/20, ours",
    archives=(
        ArchiveAddress(
            "http://www-sop.inria.fr/members/Neil.Bruce/eyetrackingdata.zip",
            "38d5c02217060d4d2d1a4649cc632af1",
        ),
    ),
)


def toronto(data_dir: str | Path, whole: bool = True) -> SaliencyDataset:
    """Read Toronto: `origfixdata.mat` and `Original Image Set/N.jpg`.

    Both lie in `toronto/eyetrackingdata/fixdens/`.

    681x511 pixels, 4 s of free viewing. `white{N}` marks the fixated pixels of all observers: who
    fixated them is not in it, so all belong to one subject, and observers cannot be compared. The
    blur is a 32nd of the width, our choice. The split into 80 training, 20 validation and 20 test
    images is fixed.

    Args:
        data_dir: the folder that holds `toronto/`.
        whole: refuse counts that are not the release's; False accepts a partial copy.

    Raises:
        FileNotFoundError: the folder or a file is missing; the message says which option to set.
        ValueError: a foreign file, an image of another size than its marks, or counts that are not
            those of the release (120 images, 11,199 fixations).
    """
    root = Path(data_dir) / DATASET_CARD.name / "eyetrackingdata" / "fixdens"
    file = existing_path(root / "origfixdata.mat", DATASET_CARD)
    with wrap_read_errors(file, DATASET_CARD.title):
        marks = [np.asarray(cell) for cell in loadmat(file)["white"][0]]
        points = [np.stack(np.nonzero(cell)[::-1], axis=1).astype(np.float64) for cell in marks]
    dropped: Counter[str] = Counter()
    stimuli = []
    for i, (cell, train) in enumerate(zip(marks, points, strict=True)):
        image = root / "Original Image Set" / f"{i + 1}.jpg"
        stimuli.append(read_stimulus(image, [train], DATASET_CARD, dropped))
        if stimuli[-1].size != cell.shape:
            raise ValueError(
                f"{image} has (height, width) {stimuli[-1].size}, but {file} says {cell.shape}"
            )
    order = np.random.default_rng(2007).permutation(len(stimuli)).tolist()
    return build_dataset(
        DATASET_CARD, stimuli, split_positions(order, 20, 20), dropped, file, whole
    )
