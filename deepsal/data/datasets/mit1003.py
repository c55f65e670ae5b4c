"""MIT1003: 1003 photographs, 15 observers (Judd et al. 2009, ICCV), from the raw gaze."""

from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat

from deepsal.data.dataset import SaliencyDataset
from deepsal.data.datasets.card import ArchiveAddress, DatasetCard
from deepsal.data.datasets.fixation_detection import detect_fixations
from deepsal.data.datasets.reading import (
    build_dataset,
    existing_path,
    list_folders,
    list_images,
    read_stimulus,
    wrap_read_errors,
)
from deepsal.data.image_files import image_size

DOWNLOAD_FOLDER = "http://people.csail.mit.edu/tjudd/WherePeopleLook"
DATASET_CARD = DatasetCard(
    name="mit1003",
    title="MIT1003",
    licence=None,
    citation="Judd, Ehinger, Durand & Torralba 2009, Learning to Predict Where Humans Look, ICCV",
    images=1003,
    fixations=104_171,
    subjects=15,
    seconds=3.0,
    distance=75.0,
    degree=34.0,
    sigma=34.0,
    splits="10 folds, ours",
    archives=(
        ArchiveAddress(f"{DOWNLOAD_FOLDER}/ALLSTIMULI.zip", "0d7df8b954ecba69b6796e77b9afe4b6"),
        ArchiveAddress(f"{DOWNLOAD_FOLDER}/DATA.zip", "ea19d74ad0a0144428c53e9d75c2d71c"),
    ),
)
FOLD_COUNT = 10


def mit1003(data_dir: str | Path, fold: int = 0, whole: bool = True) -> SaliencyDataset:
    """Read MIT1003 without MATLAB: `mit1003/ALLSTIMULI/*.jpeg`, `mit1003/DATA/SUBJECT/IMAGE.mat`.

    Each .mat file holds one variable, named after the image and cut to 63 letters, whose
    `DATA(1).eyeData` are the places of the gaze in pixels at 240 Hz; blinks are negative.
    `deepsal.data.datasets.fixation_detection` finds the fixations as the release's own checker
    does. The first of each trial, forced to the centre, is dropped, and so is what does not lie in
    0 < x < width and 0 < y < height: 104,171 stay. Such coordinates start at the image's corner
    and deepsal's, which start at the first pixel's centre, are half a pixel less. Distance and
    pixels per degree are those written in the checker.

    Args:
        data_dir: the folder that holds `mit1003/`.
        fold: 0 to 9; this tenth of the images is test, the next one validation, the rest train.
        whole: refuse counts that are not the release's; False accepts a partial copy.

    Raises:
        FileNotFoundError: a folder or a file is missing; the message says which option to set.
        ValueError: an unknown fold, a foreign file, or counts that are not those of the release.
    """
    if fold not in range(FOLD_COUNT):
        raise ValueError(f"fold={fold}: the choices are 0 to {FOLD_COUNT - 1}")
    root = Path(data_dir) / DATASET_CARD.name
    images = list_images(existing_path(root / "ALLSTIMULI", DATASET_CARD), "*.jpeg")
    people = list_folders(existing_path(root / "DATA", DATASET_CARD))
    dropped: Counter[str] = Counter()
    stimuli = []
    for image in images:
        files = [person / f"{image.stem}.mat" for person in people]
        trains = [
            _later_points_on_image(_read_observer_points(file), image, dropped) for file in files
        ]
        stimuli.append(read_stimulus(image, trains, DATASET_CARD, dropped))
    order = np.random.default_rng(2009).permutation(len(stimuli))
    tenths = [tenth.tolist() for tenth in np.array_split(order, FOLD_COUNT)]
    test, val, *rest = tenths[fold:] + tenths[:fold]
    splits = {"train": [i for tenth in rest for i in tenth], "val": val, "test": test}
    return build_dataset(DATASET_CARD, stimuli, splits, dropped, root / "DATA", whole)


def _read_observer_points(file: Path) -> NDArray[np.float64]:
    if not file.is_file():
        raise FileNotFoundError(f"{DATASET_CARD.title} is incomplete: {file} is missing")
    with wrap_read_errors(file, DATASET_CARD.title):
        held = loadmat(file, struct_as_record=False, squeeze_me=True)
        (variable,) = (value for key, value in held.items() if not key.startswith("__"))
        gaze = np.atleast_1d(variable.DATA)[0].eyeData[:, :2].astype(np.float64)
        return detect_fixations(gaze)


def _later_points_on_image(
    places: NDArray[np.float64], image: Path, dropped: Counter[str]
) -> NDArray[np.float64]:
    height, width = image_size(image)
    later = places[1:]
    inside = (later > 0).all(1) & (later < (width, height)).all(1)
    dropped.update({"first of a trial": 1, "blink or off the image": int((~inside).sum())})
    return later[inside] - 0.5
