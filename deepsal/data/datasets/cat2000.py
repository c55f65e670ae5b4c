"""CAT2000: 2000 images of 20 categories with fixations, 2000 without (Borji & Itti 2015)."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat

from deepsal.data.dataset import SaliencyDataset
from deepsal.data.datasets.card import ArchiveAddress, DatasetCard
from deepsal.data.datasets.reading import (
    build_dataset,
    existing_path,
    images_only_dataset,
    list_folders,
    list_images,
    read_stimulus,
    wrap_read_errors,
)

DATASET_CARD = DatasetCard(
    name="cat2000",
    title="CAT2000",
    licence=None,
    citation="Borji & Itti 2015, CAT2000: A Large Scale Fixation Dataset, CVPR workshop",
    images=2000,
    fixations=None,
    subjects=18,
    seconds=5.0,
    distance=None,
    degree=None,
    sigma=40.0,
    splits="80/10/10 % of each, ours",
    archives=(
        ArchiveAddress("http://saliency.mit.edu/trainSet.zip", "56ad5c77e6c8f72ed9ef2901628d6e48"),
        ArchiveAddress("http://saliency.mit.edu/testSet.zip", "903ec668df2e5a8470aef9d8654e7985"),
    ),
)


def cat2000(
    data_dir: str | Path,
    part: str = "train",
    categories: Sequence[str] | None = None,
    whole: bool = True,
) -> SaliencyDataset:
    """Read CAT2000: `cat2000/trainSet/Stimuli/CATEGORY/*.jpg`, `…/FIXATIONLOCS/CATEGORY/*.mat`.

    1920x1080 pixels, 5 s of free viewing. `fixLocs` of a .mat file marks the fixated pixels of all
    observers, so two fixations on one pixel are one and observers are not told apart (they are in
    `allFixData.mat`, a MATLAB object that only MATLAB reads). Names are `CATEGORY/001.jpg`. A tenth
    of each category is test and another validation. The blur is 40 pixels.
    An EXIF rotation (`Pattern/134.jpg` of the test set) is ignored, as it is wrong.

    Args:
        data_dir: the folder that holds `cat2000/`.
        part: train, or test: `testSet/Stimuli`, whose fixations the MIT/Tübingen benchmark keeps.
        categories: some of the 20, by default all.
        whole: refuse counts that are not the release's; False accepts a partial copy.

    Raises:
        FileNotFoundError: a folder or a file is missing; the message says which option to set.
        ValueError: an unknown part or category, a foreign file, or counts that are not those of the
            release.
    """
    if part not in ("train", "test"):
        raise ValueError(f"part={part}: the choices are train and test")
    root = Path(data_dir) / DATASET_CARD.name / f"{part}Set"
    known = [folder.name for folder in list_folders(existing_path(root / "Stimuli", DATASET_CARD))]
    if unknown := sorted(set(categories or ()) - set(known)):
        raise ValueError(f"unknown categories {unknown}; the choices are {known}")
    chosen = sorted(set(categories or known))
    images = [i for c in chosen for i in list_images(root / "Stimuli" / c, "*.jpg")]
    whole = whole and len(chosen) == len(known)
    names = [f"{image.parent.name}/{image.name}" for image in images]
    if part == "test":
        return images_only_dataset(DATASET_CARD, images, names, whole)
    dropped: Counter[str] = Counter()
    stimuli = []
    for image, name in zip(images, names, strict=True):
        file = root / "FIXATIONLOCS" / image.parent.name / f"{image.stem}.mat"
        stimuli.append(read_stimulus(image, [_points(file)], DATASET_CARD, dropped, name))
    place = np.random.default_rng(2000).permutation(10)
    tenths = {"train": place[2:], "val": place[1:2], "test": place[:1]}
    seen: Counter[Path] = Counter()
    splits: dict[str, list[int]] = {name: [] for name in tenths}
    for position, image in enumerate(images):
        name = next(name for name, of in tenths.items() if seen[image.parent] % 10 in of)
        splits[name].append(position)
        seen[image.parent] += 1
    return build_dataset(DATASET_CARD, stimuli, splits, dropped, root / "FIXATIONLOCS", whole)


def _points(file: Path) -> NDArray[np.float64]:
    with wrap_read_errors(existing_path(file, DATASET_CARD), DATASET_CARD.title):
        rows, columns = np.nonzero(loadmat(file)["fixLocs"])
        return np.stack([columns, rows], axis=1).astype(np.float64)
