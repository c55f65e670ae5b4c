"""EyeCrowd: 500 pictures of few to many people, 16 observers (Jiang et al. 2014, ECCV)."""

from pathlib import Path

from deepsal.data.dataset import SaliencyDataset
from deepsal.data.datasets import reading
from deepsal.data.datasets.card import DatasetCard, ReleaseSource

DATASET_CARD = DatasetCard(
    name="eyecrowd",
    title="EyeCrowd",
    licence="MIT",
    citation="Jiang, Xu & Zhao 2014, Saliency in Crowd, ECCV",
    images=500,
    fixations=126_348,
    observers=16,
    viewing_seconds=5.0,
    sigma=26.0,
    splits="360/40/100, ours",
    layout="eyecrowd/data/stimuli/*.jpg eyecrowd/data/eye/fixations.mat",
    size=(768, 1024),
)
SOURCES = {
    "eyecrowd": ReleaseSource(
        repository="https://raw.githubusercontent.com/NUS-VIP/saliency-in-crowd/"
        "8bb0416ee9942346f0a990f87a1325742fe3293f"
    )
}


def eyecrowd(
    data_dir: str | Path, check_counts: bool = True, split: str | None = None
) -> SaliencyDataset:
    """Read EyeCrowd: `eyecrowd/data/stimuli/*.jpg`, `eyecrowd/data/eye/fixations.mat`.

    1024x768 pixels, 5 s of viewing, the layout of OSIE, pixels counted from 1. The blur is the one
    of the release's own maps, 26 pixels. The split into 360 training, 40 validation and 100 test
    images is fixed.

    Args:
        data_dir: the folder that holds `eyecrowd/`.
        check_counts: refuse counts that are not the release's; False accepts a partial copy.
        split: `all` or `val`: which images are the test images; None for the splits above.

    Raises:
        FileNotFoundError: the folder or a file is missing; the message names the option to set.
        ValueError: the counts are not those of the release (500 images, 126,348 fixations).
    """
    file, stimuli, dropped = reading.read_nus_layout(Path(data_dir), DATASET_CARD)
    splits = reading.random_splits(len(stimuli), 2014, test=100, val=40)
    return reading.build_dataset(
        DATASET_CARD, stimuli, splits, dropped, file, check_counts, split=split
    )
