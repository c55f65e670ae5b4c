"""MIT1003: 1003 photographs, 15 observers (Judd et al. 2009, ICCV), from the raw gaze."""

from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat

from deepsal.data.dataset import SaliencyDataset
from deepsal.data.datasets import reading
from deepsal.data.datasets.card import DatasetCard, ReleaseArchive, ReleaseSource
from deepsal.data.datasets.fixation_detection import detect_fixations
from deepsal.data.image_files import image_size

DATASET_CARD = DatasetCard(
    name="mit1003",
    title="MIT1003",
    citation="Judd, Ehinger, Durand & Torralba 2009, Learning to Predict Where Humans Look, ICCV",
    images=1003,
    fixations=104_171,
    observers=15,
    viewing_seconds=3.0,
    pixels_per_degree=34.0,
    sigma=34.0,
    splits="10 folds, ours",
    layout="mit1003/ALLSTIMULI/*.jpeg mit1003/DATA/OBSERVER/IMAGE.mat",
    longest_side=1024,
)
IMAGE_ARCHIVE = ReleaseArchive(
    "https://people.csail.mit.edu/tjudd/WherePeopleLook/ALLSTIMULI.zip",
    "0d7df8b954ecba69b6796e77b9afe4b6",
    contents="ALLSTIMULI",
)
GAZE_ARCHIVE = ReleaseArchive(
    "https://people.csail.mit.edu/tjudd/WherePeopleLook/DATA.zip",
    "ea19d74ad0a0144428c53e9d75c2d71c",
    contents="DATA",
)
SOURCES = {"mit1003": ReleaseSource((IMAGE_ARCHIVE, GAZE_ARCHIVE))}
FOLD_COUNT = 10


def mit1003(
    data_dir: str | Path, fold: int = 0, check_counts: bool = True, split: str | None = None
) -> SaliencyDataset:
    """Read MIT1003 without MATLAB: `mit1003/ALLSTIMULI/*.jpeg`, `mit1003/DATA/OBSERVER/IMAGE.mat`.

    Each .mat file holds one variable, named after the image and cut to 63 letters, whose
    `DATA(1).eyeData` are the positions of the gaze in pixels at 240 Hz; blinks are negative.
    `deepsal.data.datasets.fixation_detection` finds the fixations as the release's own checker
    does. The first of each trial, forced to the centre, is dropped. So is every fixation outside
    0 < x < width and 0 < y < height: 104,171 remain. Such coordinates start at the image's corner.
    deepsal's start at the first pixel's centre and are half a pixel less. 34 pixels per degree, at
    75 cm from the screen, are those written in the checker. The longest side of all images, 1024
    pixels, is the one that pysaliency's tests state.

    Args:
        data_dir: the folder that holds `mit1003/`.
        fold: 0 to 9; this tenth of the images is test, the next one validation, the rest train.
        check_counts: refuse counts that are not the release's; False accepts a partial copy.
        split: `all` or `val`: which images are the test images; None for the splits above.

    Raises:
        FileNotFoundError: a folder or a file is missing; the message names the option to set.
        ValueError: an unknown fold, a foreign file, or counts that are not those of the release.
    """
    if fold not in range(FOLD_COUNT):
        raise ValueError(f"fold={fold}: the choices are 0 to {FOLD_COUNT - 1}")
    root = Path(data_dir) / DATASET_CARD.name
    images = reading.list_images(reading.existing_path(root / "ALLSTIMULI", DATASET_CARD), "*.jpeg")
    folders = reading.list_folders(reading.existing_path(root / "DATA", DATASET_CARD))
    dropped: Counter[str] = Counter()
    stimuli = []
    for image in images:
        points = [
            _later_points_on_image(_read_fixations(folder / f"{image.stem}.mat"), image, dropped)
            for folder in folders
        ]
        stimuli.append(reading.read_stimulus(image, points, DATASET_CARD, dropped))
    order = np.random.default_rng(2009).permutation(len(stimuli))
    tenths = [tenth.tolist() for tenth in np.array_split(order, FOLD_COUNT)]
    test, val, *rest = tenths[fold:] + tenths[:fold]
    splits = {"train": [i for tenth in rest for i in tenth], "val": val, "test": test}
    return reading.build_dataset(
        DATASET_CARD, stimuli, splits, dropped, root / "DATA", check_counts, split=split
    )


def _read_fixations(file: Path) -> NDArray[np.float64]:
    if not file.is_file():
        raise FileNotFoundError(f"{DATASET_CARD.title} is incomplete: {file} is missing")
    with reading.wrap_read_errors(file, DATASET_CARD.title):
        content = loadmat(file, struct_as_record=False, squeeze_me=True)
        (variable,) = (value for key, value in content.items() if not key.startswith("__"))
        gaze = np.atleast_1d(variable.DATA)[0].eyeData[:, :2].astype(np.float64)
        return detect_fixations(gaze)


def _later_points_on_image(
    points: NDArray[np.float64], image: Path, dropped: Counter[str]
) -> NDArray[np.float64]:
    height, width = image_size(image)
    later = points[1:]
    inside = (later > 0).all(1) & (later < (width, height)).all(1)
    dropped.update({"first of a trial": 1, "blink or off the image": int((~inside).sum())})
    return later[inside] - 0.5
