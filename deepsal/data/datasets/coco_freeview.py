"""COCO-FreeView: free viewing of the images of COCO-Search18 (Chen et al. 2022, CVPR workshop)."""

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepsal.data.dataset import SaliencyDataset
from deepsal.data.datasets import reading
from deepsal.data.datasets.card import DatasetCard, ReleaseArchive, ReleaseSource

DATASET_CARD = DatasetCard(
    name="coco_freeview",
    title="COCO-FreeView",
    citation="Chen et al. 2022, Characterizing Target-Absent Human Attention, CVPR workshop",
    images=4317,
    fixations=665_005,
    observers=10,
    viewing_seconds=5.0,
    sigma=52.5,
    splits="3714; val in halves",
    layout="coco_freeview/images/CATEGORY/*.jpg "
    "coco_freeview/coco_search18_images_TA/CATEGORY/*.jpg "
    "coco_freeview/COCOFreeView_fixations_trainval.json",
    size=(1050, 1680),
)
TEST_IMAGES = 1000
"""Number of images whose fixations the release withholds."""
ADDRESS = "https://vision.cs.stonybrook.edu/~cvlab_download"
PRESENT_ARCHIVE = ReleaseArchive(
    f"{ADDRESS}/COCOSearch18-images-TP.zip",
    "4a815bb591cb463ab77e5ba0c68fedfb",
    contents="images",
)
ABSENT_ARCHIVE = ReleaseArchive(
    f"{ADDRESS}/COCOSearch18-images-TA.zip",
    "85af7d74fa57c202320fa5e7d0dcc187",
    contents="coco_search18_images_TA",
)
FIXATION_TABLE = ReleaseArchive(
    f"{ADDRESS}/COCOFreeView_fixations_trainval.json",
    "c7f2fbc92afbe55d4dedc445ac2063d3",
    contents="COCOFreeView_fixations_trainval.json",
)
SOURCES = {"coco_freeview": ReleaseSource((PRESENT_ARCHIVE, ABSENT_ARCHIVE, FIXATION_TABLE))}
IMAGE_FOLDERS = (PRESENT_ARCHIVE.contents, ABSENT_ARCHIVE.contents)
PARTS = ("train", "test")
OFFICIAL_SPLITS = ("train", "valid")


class _ViewedImage(NamedTuple):
    """Official split of an image, and the points (n, 2) of the trials of each observer on it."""

    split: str
    trials: defaultdict[int, list[NDArray[np.float64]]]


def coco_freeview(
    data_dir: str | Path, part: str = "train", check_counts: bool = True, split: str | None = None
) -> SaliencyDataset:
    """Read COCO-FreeView: its table of fixations, and the images of COCO-Search18.

    `coco_freeview/COCOFreeView_fixations_trainval.json` is a list with an entry per observer and
    image: `name` of the image, `subject`, `split` (train or valid), `X`, `Y`, the durations `T` in
    ms, and their number `length`. Images lie in `images/CATEGORY/` (target-present images of
    COCO-Search18) and `coco_search18_images_TA/CATEGORY/` (target-absent images). An image of
    several categories has a file in each and is one stimulus.

    The COCO images were scaled and padded with black to 1680x1050 pixels for the display, and
    coordinates are pixels of these images. Whether they start at 0 or at 1 was not found; they are
    read as pixels from 0. The first fixation of each trial is the initial one at the centre, as the
    description of COCO-Search18's files states, and is dropped. Of 822,602 fixations, 665,005 are
    public: 3,714 training images are train; of the 603 validation images a fixed half is val and
    the other half test. The fixations of 1,000 further images are withheld.

    5 s of free viewing (D'Amelio et al. 2024, TPP-Gaze). The blur is that of the authors' model HAT
    (Yang et al. 2024, CVPR): 16 pixels of an image 512 wide. Pixels per degree and a licence were
    not found; the release's page is said to restrict redistribution.

    Args:
        data_dir: the folder that holds `coco_freeview/`.
        part: train, or test: the images without public fixations, which are those that the table
            does not list.
        check_counts: refuse counts that are not the release's; False accepts a partial copy.
        split: `all` or `val`: which images are the test images; None for the splits above.

    Raises:
        FileNotFoundError: a folder or a file is missing; the message names the option to set.
        ValueError: an unknown part, a foreign file, or counts that are not those of the release.
    """
    if part not in PARTS:
        raise ValueError(f"part={part}: the choices are {' and '.join(PARTS)}")
    root = Path(data_dir) / DATASET_CARD.name
    file = reading.existing_path(root / FIXATION_TABLE.contents, DATASET_CARD)
    folders = [reading.existing_path(root / folder, DATASET_CARD) for folder in IMAGE_FOLDERS]
    files = {image.name: image for f in folders for image in reading.list_images(f, "*/*.jpg")}
    with reading.wrap_read_errors(file, DATASET_CARD.title):
        viewed = _read_viewed_images(file)
    if part == "test":
        names = sorted(set(files) - set(viewed))
        card = replace(DATASET_CARD, images=TEST_IMAGES)
        return reading.images_only_dataset(
            card, [files[n] for n in names], names, check_counts, split
        )
    missing = root / f"{{{','.join(IMAGE_FOLDERS)}}}" / "CATEGORY"
    observers = sorted({observer for image in viewed.values() for observer in image.trials})
    dropped: Counter[str] = Counter()
    stimuli = []
    for name, image in viewed.items():
        points = [
            np.concatenate([np.empty((0, 2)), *(trial[1:] for trial in image.trials[observer])])
            for observer in observers
        ]
        path = files.get(name, missing / name)
        stimuli.append(reading.read_stimulus(path, points, DATASET_CARD, dropped))
    trials = [trial for image in viewed.values() for own in image.trials.values() for trial in own]
    dropped["first of a trial"] = sum(len(trial[:1]) for trial in trials)
    card = replace(
        DATASET_CARD, fixations=(DATASET_CARD.fixations or 0) - dropped["first of a trial"]
    )
    splits = _splits([image.split for image in viewed.values()])
    return reading.build_dataset(card, stimuli, splits, dropped, file, check_counts, split=split)


def _read_viewed_images(file: Path) -> dict[str, _ViewedImage]:
    """Return the images of the table by name, in the order of their names."""
    viewed: dict[str, _ViewedImage] = {}
    for trial in json.loads(file.read_bytes()):
        name, split = str(trial["name"]), str(trial["split"])
        image = viewed.setdefault(name, _ViewedImage(split, defaultdict(list)))
        if split != image.split or split not in OFFICIAL_SPLITS:
            raise ValueError(f"{name} has the split {split!r}; each image is in train or in valid")
        points = np.stack([np.asarray(trial[axis], np.float64) for axis in "XY"], axis=1)
        if points.ndim != 2:
            raise ValueError(f"the fixations of {name} are nested deeper than a list of numbers")
        image.trials[int(trial["subject"])].append(points)
    if not viewed:
        raise ValueError("it holds no trial")
    return dict(sorted(viewed.items()))


def _splits(official: Sequence[str]) -> dict[str, list[int]]:
    """Return train, and the validation images in fixed halves.

    >>> _splits(["valid", "train", "valid", "valid"])
    {'train': [1], 'val': [3, 0], 'test': [2]}
    """
    train, valid = (np.flatnonzero(np.equal(official, split)) for split in OFFICIAL_SPLITS)
    halves = np.array_split(np.random.default_rng(2022).permutation(valid), 2)
    val, test = (half.tolist() for half in halves)
    return {"train": train.tolist(), "val": val, "test": test}
