"""EyeCrowd: 500 pictures of few to many people, 16 observers (Jiang et al. 2014, ECCV)."""

from pathlib import Path

import numpy as np

from deepsal.data.dataset import SaliencyDataset
from deepsal.data.datasets.card import ArchiveAddress, DatasetCard
from deepsal.data.datasets.osie import read_nus_layout
from deepsal.data.datasets.reading import build_dataset, split_positions

DATASET_CARD = DatasetCard(
    name="eyecrowd",
    title="EyeCrowd",
    licence="MIT",
    citation="Jiang, Xu & Zhao 2014, Saliency in Crowd, ECCV",
    images=500,
    fixations=126_348,
    subjects=16,
    seconds=5.0,
    distance=None,
    degree=None,
    sigma=26.0,
    splits="360/40/100, ours",
    archives=(ArchiveAddress("https://github.com/NUS-VIP/saliency-in-crowd"),),
)


def eyecrowd(data_dir: str | Path, whole: bool = True) -> SaliencyDataset:
    """Read EyeCrowd: `eyecrowd/data/stimuli/*.jpg`, `eyecrowd/data/eye/fixations.mat`.

    1024x768 pixels, 5 s of viewing, the layout of OSIE, pixels counted from 1; the blur is the one
    of the release's own maps, 26 pixels. The split into 360 training, 40 validation and 100 test
    images is fixed.

    Args:
        data_dir: the folder that holds `eyecrowd/`.
        whole: refuse counts that are not the release's; False accepts a partial copy.

    Raises:
        FileNotFoundError: the folder or a file is missing; the message says which option to set.
        ValueError: the counts are not those of the release (500 images, 126,348 fixations).
    """
    file, stimuli, dropped = read_nus_layout(Path(data_dir), DATASET_CARD)
    order = np.random.default_rng(2014).permutation(len(stimuli)).tolist()
    return build_dataset(
        DATASET_CARD, stimuli, split_positions(order, 100, 40), dropped, file, whole
    )
