"""Toronto: 120 photographs, 20 observers (Bruce & Tsotsos 2007, J. Vision)."""

from collections import Counter
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from deepsal.data.dataset import SaliencyDataset
from deepsal.data.datasets import reading
from deepsal.data.datasets.card import DatasetCard, ReleaseArchive, ReleaseSource

DATASET_CARD = DatasetCard(
    name="toronto",
    title="Toronto",
    citation="Bruce & Tsotsos 2007, Attention Based on Information Maximization, J. Vision",
    images=120,
    fixations=11_199,
    observers=20,
    viewing_seconds=4.0,
    sigma=21.0,
    splits="80/20/20, ours",
    layout="toronto/eyetrackingdata/fixdens/origfixdata.mat "
    '"toronto/eyetrackingdata/fixdens/Original Image Set/N.jpg"',
    size=(511, 681),
)
FIXATION_ARCHIVE = ReleaseArchive(
    "https://www-sop.inria.fr/members/Neil.Bruce/eyetrackingdata.zip",
    "38d5c02217060d4d2d1a4649cc632af1",
    contents="eyetrackingdata",
)
SOURCES = {"toronto": ReleaseSource((FIXATION_ARCHIVE,))}


def toronto(
    data_dir: str | Path, check_counts: bool = True, split: str | None = None
) -> SaliencyDataset:
    """Read Toronto: `origfixdata.mat` and `Original Image Set/N.jpg`.

    Both lie in `toronto/eyetrackingdata/fixdens/`.

    681x511 pixels, 4 s of free viewing. `white{N}` marks the fixated pixels of all observers. The
    observer of a mark is not stored, so all marks belong to one observer and observers cannot be
    compared. The blur is a 32nd of the width, our choice. The split into 80 training, 20
    validation and 20 test images is fixed.

    Args:
        data_dir: the folder that holds `toronto/`.
        check_counts: refuse counts that are not the release's; False accepts a partial copy.
        split: `all` or `val`: which images are the test images; None for the splits above.

    Raises:
        FileNotFoundError: the folder or a file is missing; the message names the option to set.
        ValueError: a foreign file, an image of another size than its marks, or counts that are not
            those of the release (120 images, 11,199 fixations).
    """
    root = Path(data_dir) / DATASET_CARD.name / "eyetrackingdata" / "fixdens"
    file = reading.existing_path(root / "origfixdata.mat", DATASET_CARD)
    with reading.wrap_read_errors(file, DATASET_CARD.title):
        marks = [np.asarray(cell) for cell in loadmat(file)["white"][0]]
        points = [np.stack(np.nonzero(cell)[::-1], axis=1).astype(np.float64) for cell in marks]
    dropped: Counter[str] = Counter()
    stimuli = []
    for i, (cell, image_points) in enumerate(zip(marks, points, strict=True)):
        image = root / "Original Image Set" / f"{i + 1}.jpg"
        stimuli.append(reading.read_stimulus(image, [image_points], DATASET_CARD, dropped))
        reading.check_image_size(image, stimuli[-1].size, cell.shape, file)
    splits = reading.random_splits(len(stimuli), 2007, test=20, val=20)
    return reading.build_dataset(
        DATASET_CARD, stimuli, splits, dropped, file, check_counts, split=split
    )
