"""SALICON: 20,000 COCO images and the mouse of many people (Jiang et al. 2015, CVPR)."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat

from deepsal.data.dataset import SaliencyDataset
from deepsal.data.datasets import reading
from deepsal.data.datasets.card import DatasetCard, ReleaseArchive, ReleaseSource

FIXATION_KINDS = ("fixations", "location")
FIXATION_COUNTS = {
    (2015, "fixations"): 3_171_533 + 1_662_655,
    (2015, "location"): 68_992_355 + 38_846_998,
    (2017, "fixations"): 4_598_112 + 2_576_914,
    (2017, "location"): 215_286_274 + 121_898_426,
}
"""By release and kind: of train and val, as pysaliency counts them in the archives."""
DATASET_CARD = DatasetCard(
    name="salicon",
    title="SALICON",
    licence="CC BY 4.0",
    citation="Jiang, Huang, Duan & Zhao 2015, SALICON: Saliency in Context, CVPR",
    images=15_000,
    fixations=FIXATION_COUNTS[2017, "fixations"],
    sigma=19.0,
    splits="10,000; val in halves",
    layout="salicon/images/{train,val}/*.jpg salicon/fixations/{train,val}/*.mat",
    size=(480, 640),
)
GOOGLE_DRIVE = "https://drive.usercontent.google.com/download?export=download&confirm=t&id="
IMAGE_ARCHIVE = ReleaseArchive(
    f"{GOOGLE_DRIVE}1g8j-hTT-51IG1UFwP0xTGhLdgIUCW5e5",
    "eb2a1bb706633d1b31fc2e01422c5757",
    contents="images",
    stored_name="salicon_images.zip",
)
FIXATION_ARCHIVES = {
    2015: ReleaseArchive(
        f"{GOOGLE_DRIVE}1WVEiXba-I4GN33f0uUl4KhaN1rK7qzs6",
        "9a22db9d718200fb90252e5010c004c4",
        contents="fixations2015",
        unpack_folder="fixations2015",
        stored_name="salicon_fixations_2015.zip",
    ),
    2017: ReleaseArchive(
        f"{GOOGLE_DRIVE}1P-jeZXCsjoKO79OhFUgnj6FGcyvmLDPj",
        "462b70f4f9e8ea446ac628e46cea8d3d",
        contents="fixations2017",
        unpack_folder="fixations2017",
        stored_name="salicon_fixations_2017.zip",
    ),
}
SOURCES = {
    f"salicon{release}": ReleaseSource(
        (IMAGE_ARCHIVE, archive),
        folders=(f"salicon/fixations{release}", "salicon/fixations"),
    )
    for release, archive in FIXATION_ARCHIVES.items()
}


def salicon(
    data_dir: str | Path,
    release: int = 2017,
    kind: str = "fixations",
    check_counts: bool = True,
    split: str | None = None,
) -> SaliencyDataset:
    """Read SALICON: `salicon/images/{train,val}/*.jpg`, `salicon/fixations/{train,val}/*.mat`.

    The fixations of the two releases are different data under equal names. To have both, call
    their folders `fixations2015` and `fixations2017`, as fetching does. A .mat file has `image`,
    `resolution` (height, width) and `gaze`, one per observer, with `location` (mouse samples),
    `timestamp` and `fixations` (inferred), x and y counted from 1. Training images are train; of
    the 5,000 validation images a fixed half is val and the other half test. The fixations of the
    official test images are not public. The blur is that of SALICON's own code. The mouse samples
    of 2017 need some 8 GB of memory.

    Args:
        data_dir: the folder that holds `salicon/`.
        release: 2015 or 2017.
        kind: fixations (inferred from the mouse) or location (every sample of it).
        check_counts: refuse counts that are not the release's; False accepts a partial copy.
        split: `all` or `val`: which images are the test images; None for the splits above.

    Raises:
        FileNotFoundError: a folder or a file is missing; the message names the option to set.
        ValueError: an unknown option, a foreign file, or counts that are not those of the release.
    """
    if release not in FIXATION_ARCHIVES or kind not in FIXATION_KINDS:
        raise ValueError(
            f"release={release}, kind={kind}: the choices are {[*FIXATION_ARCHIVES]} "
            f"and {list(FIXATION_KINDS)}"
        )
    root = Path(data_dir) / DATASET_CARD.name
    own = root / f"fixations{release}"
    folder = own if own.is_dir() else root / "fixations"
    dropped: Counter[str] = Counter()
    stimuli = []
    counts = []
    for part in ("train", "val"):
        files = sorted(reading.existing_path(folder / part, DATASET_CARD).glob("*.mat"))
        counts.append(len(files))
        for file in files:
            image = root / "images" / part / f"{file.stem}.jpg"
            points, size = _read_points_by_observer(file, kind)
            stimuli.append(reading.read_stimulus(image, points, DATASET_CARD, dropped))
            reading.check_image_size(image, stimuli[-1].size, size, file)
    order = counts[0] + np.random.default_rng(2015).permutation(counts[1])
    val, test = (half.tolist() for half in np.array_split(order, 2))
    splits = {"train": range(counts[0]), "val": val, "test": test}
    card = replace(
        DATASET_CARD, title=f"SALICON {release}", fixations=FIXATION_COUNTS[release, kind]
    )
    return reading.build_dataset(card, stimuli, splits, dropped, folder, check_counts, split=split)


def _read_points_by_observer(
    file: Path, kind: str
) -> tuple[list[NDArray[np.float64]], tuple[int, int]]:
    """Return the points of each observer, counted from 0, and the image's (height, width)."""
    with reading.wrap_read_errors(file, DATASET_CARD.title):
        content: dict[str, Any] = loadmat(file, squeeze_me=True, struct_as_record=False)
        height, width = content["resolution"]
        people = np.atleast_1d(content["gaze"])
        points = [np.asarray(getattr(person, kind), np.float64) for person in people]
        return [point.reshape(-1, 2) - 1 for point in points], (int(height), int(width))
