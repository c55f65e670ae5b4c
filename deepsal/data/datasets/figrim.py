"""FIGRIM: 2793 scenes seen in a memory task (Bylinskii et al. 2015, Vision Research)."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat

from deepsal.data.dataset import SaliencyDataset
from deepsal.data.datasets import reading
from deepsal.data.datasets.card import DatasetCard, ReleaseArchive, ReleaseSource

DATASET_CARD = DatasetCard(
    name="figrim",
    title="FIGRIM",
    citation="Bylinskii, Isola, Bainbridge, Torralba & Oliva 2015, Vision Research",
    images=2793,
    fixations=424_712,
    sigma=33.0,
    splits="80/10/10 %, ours",
    layout="figrim/{Fillers,Targets}/CATEGORY/*.jpg figrim/allImages_{fillers,release}.mat",
    size=(1000, 1000),
)
# The server of the images has no https; the checksum protects the download.
FILLER_ARCHIVE = ReleaseArchive(
    "http://figrim.mit.edu/Fillers.zip", "dc0bc9561b5bc90e158ec32074dd1060", contents="Fillers"
)
TARGET_ARCHIVE = ReleaseArchive(
    "http://figrim.mit.edu/Targets.zip", "2ad3a42ebc377efe4b39064405568201", contents="Targets"
)
TARGET_TABLE = ReleaseArchive(
    "https://raw.githubusercontent.com/cvzoya/figrim/master/targetData/allImages_release.mat",
    "c72843b05e95ab27594c1d11c849c897",
    contents="allImages_release.mat",
)
FILLER_TABLE = ReleaseArchive(
    "https://raw.githubusercontent.com/cvzoya/figrim/master/fillerData/allImages_fillers.mat",
    "ce4f8b4961005d62f7a21191a64cab5e",
    contents="allImages_fillers.mat",
)
SOURCES = {"figrim": ReleaseSource((FILLER_ARCHIVE, TARGET_ARCHIVE, TARGET_TABLE, FILLER_TABLE))}
FIXATION_TABLES = {"Fillers": FILLER_TABLE.contents, "Targets": TARGET_TABLE.contents}
VIEWING_NAMES = ("enc", "rec", "rec2")
DUPLICATE_IMAGES = (
    "highway/sun_bnjxztsvnercygxn",
    "highway/sun_bdwttbytrbnqyqsk",
    "conference_room/sun_awjucfvtjllxrtkv",
    "conference_room/sun_abpqxslcljhrwmck",
    "highway/sun_byoonkqxghujgvkh",
    "highway/sun_bjitfqyiepkgfkks",
    "highway/sun_bwrlzawyknljbhcb",
    "highway/sun_auwrraazjwdcjcjg",
    "mountain/sun_boskvwzgsvsyuhll",
    "mountain/sun_bgdykfpjgudqpzlu",
    "conference_room/sun_bzagimnxconenicn",
    "conference_room/sun_bsccnfecifucnavf",
)
"""Six pictures, each twice, as the release states: all stay in the training split."""


def figrim(
    data_dir: str | Path,
    viewings: Sequence[str] = ("enc",),
    check_counts: bool = True,
    split: str | None = None,
) -> SaliencyDataset:
    """Read FIGRIM: `figrim/{Fillers,Targets}/CATEGORY/*.jpg`, `figrim/allImages_*.mat`.

    1000x1000 pixels. `allImages` of `allImages_fillers.mat` and `allImages_release.mat` (targets)
    is a struct per image with `filename`, `category` and `userdata`, one per observer, whose
    `fixations` have `enc`, `rec` and `rec2`: (x, y) at the first, second and third viewing, empty
    without one. The release's own code counts pixels from 1 and blurs with 33. A tenth of
    the images is validation and another one test.

    Args:
        data_dir: the folder that holds `figrim/`.
        viewings: enc (first), rec (second), rec2 (third); the first, as in the release's own maps.
        check_counts: refuse counts that are not the release's; False accepts a partial copy.
        split: `all` or `val`: which images are the test images; None for the splits above.

    Raises:
        FileNotFoundError: a folder or a file is missing; the message names the option to set.
        ValueError: an unknown viewing, a foreign file, or counts that are not those of the release.
    """
    if unknown := [viewing for viewing in viewings if viewing not in VIEWING_NAMES]:
        raise ValueError(f"viewings={unknown}: the choices are {list(VIEWING_NAMES)}")
    root = Path(data_dir) / DATASET_CARD.name
    dropped: Counter[str] = Counter()
    stimuli, unused = [], 0
    for part, table in FIXATION_TABLES.items():
        file = reading.existing_path(root / table, DATASET_CARD)
        with reading.wrap_read_errors(file, DATASET_CARD.title):
            images = list(_read_images(file))
        for name, people in images:
            points = [np.concatenate([person[v] for v in viewings]) for person in people]
            stored = sum(len(viewing) for person in people for viewing in person.values())
            unused += stored - sum(map(len, points))
            title = f"{part}/{name}"
            stimuli.append(
                reading.read_stimulus(root / part / name, points, DATASET_CARD, dropped, title)
            )
    duplicates = {f"Targets/{name}.jpg" for name in DUPLICATE_IMAGES}
    pairs = [i for i, stimulus in enumerate(stimuli) if stimulus.name in duplicates]
    splits = reading.random_splits(len(stimuli), 2015, always_train=pairs)
    card = replace(DATASET_CARD, fixations=(DATASET_CARD.fixations or 0) - unused)
    return reading.build_dataset(card, stimuli, splits, dropped, root, check_counts, split=split)


def _read_images(file: Path) -> Iterator[tuple[str, list[dict[str, NDArray[np.float64]]]]]:
    """Yield CATEGORY/FILE and, for each observer, the points of each viewing, counted from 0."""
    for image in np.atleast_1d(loadmat(file, squeeze_me=True, struct_as_record=False)["allImages"]):
        people = [_points_by_viewing(person.fixations) for person in np.atleast_1d(image.userdata)]
        yield f"{image.category}/{image.filename}", people


def _points_by_viewing(fixations: Any) -> dict[str, NDArray[np.float64]]:
    points = {v: np.asarray(getattr(fixations, v, ()), dtype=np.float64) for v in VIEWING_NAMES}
    return {
        v: np.atleast_2d(p)[:, :2] - 1 if p.size else np.empty((0, 2)) for v, p in points.items()
    }
