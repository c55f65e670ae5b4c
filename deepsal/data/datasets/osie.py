"""OSIE: 700 images with many objects, 15 observers (Xu et al. 2014, J. Vision 14(1):28)."""

from pathlib import Path

from deepsal.data.dataset import SaliencyDataset
from deepsal.data.datasets import reading
from deepsal.data.datasets.card import DatasetCard, ReleaseSource

DATASET_CARD = DatasetCard(
    name="osie",
    title="OSIE",
    licence="MIT",
    citation="Xu, Jiang, Wang, Kankanhalli & Zhao 2014, Journal of Vision 14(1):28",
    images=700,
    fixations=98_321,
    observers=15,
    viewing_seconds=3.0,
    pixels_per_degree=24.0,
    sigma=24.0,
    splits="500/100/100, ours",
    layout="osie/data/stimuli/*.jpg osie/data/eye/fixations.mat",
    size=(600, 800),
)
SOURCES = {
    "osie": ReleaseSource(
        repository="https://raw.githubusercontent.com/NUS-VIP/predicting-human-gaze-beyond-pixels/"
        "4a467890fcb40a2fec04cdded552760942bac7a4"
    )
}
DUPLICATE_IMAGES = ("1279.jpg", "1374.jpg")
"""Two names of one picture: both stay in the training split."""


def osie(data_dir: str | Path, split: str | None = None) -> SaliencyDataset:
    """Read OSIE in its release layout: `osie/data/stimuli/*.jpg`, `osie/data/eye/fixations.mat`.

    800x600 pixels, 3 s of free viewing, about 24 pixels per degree, blur of one degree. The
    release counts pixels from 1, deepsal from 0. The split into 500 training, 100 validation and
    100 test images is fixed.

    Args:
        data_dir: the folder that holds `osie/`.
        split: `all` or `val`: which images are the test images; None for the splits above.

    Raises:
        FileNotFoundError: the folder or a file is missing; the message names the option to set.
        ValueError: the counts are not those of the release (700 images, 98,321 fixations).
    """
    file, stimuli, dropped = reading.read_nus_layout(Path(data_dir), DATASET_CARD)
    names = [stimulus.name for stimulus in stimuli]
    duplicates = [names.index(name) for name in DUPLICATE_IMAGES]
    splits = reading.random_splits(len(names), 2014, test=100, val=100, always_train=duplicates)
    return reading.build_dataset(DATASET_CARD, stimuli, splits, dropped, file, split=split)
