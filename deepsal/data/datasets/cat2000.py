"""CAT2000: 2000 images of 20 categories with fixations, 2000 without (Borji & Itti 2015)."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat

from deepsal.data.dataset import SaliencyDataset
from deepsal.data.datasets import reading
from deepsal.data.datasets.card import DatasetCard, ReleaseArchive, ReleaseSource

DATASET_CARD = DatasetCard(
    name="cat2000",
    title="CAT2000",
    citation="Borji & Itti 2015, CAT2000: A Large Scale Fixation Dataset, CVPR workshop",
    images=2000,
    observers=18,
    viewing_seconds=5.0,
    sigma=40.0,
    splits="80/10/10 % of each, ours",
    layout="cat2000/trainSet/Stimuli/CATEGORY/*.jpg cat2000/trainSet/FIXATIONLOCS/CATEGORY/*.mat",
    size=(1080, 1920),
)
# The server has no https; the checksum protects the download.
TRAIN_ARCHIVE = ReleaseArchive(
    "http://saliency.mit.edu/trainSet.zip", "56ad5c77e6c8f72ed9ef2901628d6e48", contents="trainSet"
)
TEST_ARCHIVE = ReleaseArchive(
    "http://saliency.mit.edu/testSet.zip", "903ec668df2e5a8470aef9d8654e7985", contents="testSet"
)
SOURCES = {"cat2000": ReleaseSource((TRAIN_ARCHIVE, TEST_ARCHIVE))}


def cat2000(
    data_dir: str | Path,
    part: str = "train",
    categories: Sequence[str] | None = None,
    check_counts: bool = True,
    split: str | None = None,
) -> SaliencyDataset:
    """Read CAT2000: `cat2000/trainSet/Stimuli/CATEGORY/*.jpg`, `…/FIXATIONLOCS/CATEGORY/*.mat`.

    1920x1080 pixels, 5 s of free viewing. `fixLocs` of a .mat file marks the fixated pixels of all
    observers: two fixations on one pixel are one, and the observer of a mark is not stored. (It is
    in `allFixData.mat`, a MATLAB object that only MATLAB reads.) Names are `CATEGORY/001.jpg`. A
    tenth of each category is test and another validation. The blur is 40 pixels.
    An EXIF rotation (`Pattern/134.jpg` of the test set) is ignored, as it is wrong.

    Args:
        data_dir: the folder that holds `cat2000/`.
        part: train, or test: `testSet/Stimuli`, whose fixations the MIT/Tübingen benchmark does
            not publish.
        categories: some of the 20, by default all.
        check_counts: refuse counts that are not the release's; False accepts a partial copy.
        split: `all` or `val`: which images are the test images; None for the splits above.

    Raises:
        FileNotFoundError: a folder or a file is missing; the message names the option to set.
        ValueError: an unknown part or category, a foreign file, or counts that are not those of the
            release.
    """
    if part not in ("train", "test"):
        raise ValueError(f"part={part}: the choices are train and test")
    root = Path(data_dir) / DATASET_CARD.name / f"{part}Set"
    folders = reading.list_folders(reading.existing_path(root / "Stimuli", DATASET_CARD))
    available = [folder.name for folder in folders]
    if unknown := sorted(set(categories or ()) - set(available)):
        raise ValueError(f"unknown categories {unknown}; the choices are {available}")
    selected = sorted(set(categories or available))
    images = [i for c in selected for i in reading.list_images(root / "Stimuli" / c, "*.jpg")]
    check_counts = check_counts and len(selected) == len(available)
    names = [f"{image.parent.name}/{image.name}" for image in images]
    if part == "test":
        return reading.images_only_dataset(DATASET_CARD, images, names, check_counts, split)
    dropped: Counter[str] = Counter()
    stimuli = []
    for image, name in zip(images, names, strict=True):
        file = root / "FIXATIONLOCS" / image.parent.name / f"{image.stem}.mat"
        stimuli.append(reading.read_stimulus(image, [_points(file)], DATASET_CARD, dropped, name))
    splits = _splits_within_categories(images)
    return reading.build_dataset(
        DATASET_CARD, stimuli, splits, dropped, root / "FIXATIONLOCS", check_counts, split=split
    )


def _splits_within_categories(images: Sequence[Path]) -> dict[str, list[int]]:
    test, val, *train = np.random.default_rng(2000).permutation(10).tolist()
    split_of = {test: "test", val: "val"} | dict.fromkeys(train, "train")
    splits: dict[str, list[int]] = {"train": [], "val": [], "test": []}
    counts: Counter[Path] = Counter()
    for position, image in enumerate(images):
        splits[split_of[counts[image.parent] % 10]].append(position)
        counts[image.parent] += 1
    return splits


def _points(file: Path) -> NDArray[np.float64]:
    with reading.wrap_read_errors(reading.existing_path(file, DATASET_CARD), DATASET_CARD.title):
        rows, columns = np.nonzero(loadmat(file)["fixLocs"])
        return np.stack([columns, rows], axis=1).astype(np.float64)
