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
from deepsal.data.datasets.card import ArchiveAddress, DatasetCard
from deepsal.data.datasets.reading import (
    build_dataset,
    existing_path,
    read_stimulus,
    split_positions,
    wrap_read_errors,
)

DATASET_CARD = DatasetCard(
    name="figrim",
    title="FIGRIM",
    licence=None,
    citation="Bylinskii, Isola, Bainbridge, Torralba & Oliva 2015, Vision Research",
    images=2793,
    fixations=424_712,
    subjects=None,
    seconds=None,
    distance=None,
    degree=None,
    sigma=33.0,
    splits="80/10/10 %, ours",
    archives=(
        ArchiveAddress("http://figrim.mit.edu/Fillers.zip", "dc0bc9561b5bc90e158ec32074dd1060"),
        ArchiveAddress("http://figrim.mit.edu/Targets.zip", "2ad3a42ebc377efe4b39064405568201"),
        ArchiveAddress("https://github.com/cvzoya/figrim"),
    ),
)
FIXATION_TABLES = {"Fillers": "allImages_fillers.mat", "Targets": "allImages_release.mat"}
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
"""Six pictures, each twice, as the release says: all stay in the training split."""


def figrim(
    data_dir: str | Path, viewings: Sequence[str] = ("enc",), whole: bool = True
) -> SaliencyDataset:
    """Read FIGRIM: `figrim/{Fillers,Targets}/CATEGORY/*.jpg`, `figrim/allImages_*.mat`.

    1000x1000 pixels. `allImages` of `allImages_fillers.mat` and `allImages_release.mat` (targets)
    is a struct per image with `filename`, `category` and `userdata`, one per person, whose
    `fixations` have `enc`, `rec` and `rec2`: (x, y) at the first, second and third viewing, empty
    where there was none. The release's own code counts pixels from 1 and blurs with 33. A tenth of
    the images is validation and another one test.

    Args:
        data_dir: the folder that holds `figrim/`.
        viewings: enc (first), rec (second), rec2 (third); the first, as in the release's own maps.
        whole: refuse counts that are not the release's; False accepts a partial copy.

    Raises:
        FileNotFoundError: a folder or a file is missing; the message says which option to set.
        ValueError: an unknown viewing, a foreign file, or counts that are not those of the release.
    """
    if unknown := [viewing for viewing in viewings if viewing not in VIEWING_NAMES]:
        raise ValueError(f"viewings={unknown}: the choices are {list(VIEWING_NAMES)}")
    root = Path(data_dir) / DATASET_CARD.name
    dropped: Counter[str] = Counter()
    stimuli, later = [], 0
    for part, table in FIXATION_TABLES.items():
        file = existing_path(root / table, DATASET_CARD)
        with wrap_read_errors(file, DATASET_CARD.title):
            images = list(_read_images(file))
        for name, people in images:
            trains = [np.concatenate([person[v] for v in viewings]) for person in people]
            held = sum(len(points) for person in people for points in person.values())
            later += held - sum(map(len, trains))
            stimuli.append(
                read_stimulus(root / part / name, trains, DATASET_CARD, dropped, f"{part}/{name}")
            )
    twins = {f"Targets/{name}.jpg" for name in DUPLICATE_IMAGES}
    paired = [i for i, image in enumerate(stimuli) if image.name in twins]
    order = np.random.default_rng(2015).permutation(len(stimuli)).tolist()
    tenth = len(stimuli) // 10
    splits = split_positions([i for i in order if i not in paired], tenth, tenth)
    splits["train"] += paired
    card = replace(DATASET_CARD, fixations=(DATASET_CARD.fixations or 0) - later)
    return build_dataset(card, stimuli, splits, dropped, root, whole)


def _read_images(file: Path) -> Iterator[tuple[str, list[dict[str, NDArray[np.float64]]]]]:
    """Yield CATEGORY/FILE and, for each person, the points of each viewing, counted from 0."""
    for image in np.atleast_1d(loadmat(file, squeeze_me=True, struct_as_record=False)["allImages"]):
        people = [_points_by_viewing(person.fixations) for person in np.atleast_1d(image.userdata)]
        yield f"{image.category}/{image.filename}", people


def _points_by_viewing(fixations: Any) -> dict[str, NDArray[np.float64]]:
    points = {v: np.asarray(getattr(fixations, v, ()), dtype=np.float64) for v in VIEWING_NAMES}
    return {
        v: np.atleast_2d(p)[:, :2] - 1 if p.size else np.empty((0, 2)) for v, p in points.items()
    }
