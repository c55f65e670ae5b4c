"""Anybody's fixations: images in a folder and three small tables."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from deepsal.data.dataset import SPLIT_NAMES, SaliencyDataset, Stimulus
from deepsal.data.image_files import image_size, read_image

TABLE_COLUMNS = {
    "images.csv": ["image", "width", "height"],
    "fixations.csv": ["image", "subject", "index", "x", "y"],
    "splits.csv": ["image", "split"],
}

OPTIONAL_COLUMNS = {"sigma"}
NUMERIC_COLUMNS = {"width", "height", "x", "y", *OPTIONAL_COLUMNS}


def read_csv_folder(path: str | Path, sigma: float) -> SaliencyDataset:
    """Read a data set in the generic layout.

    ```
    NAME/images/*.jpg|png   NAME/images.csv           image,width,height[,sigma]
    NAME/fixations.csv[.gz] image,subject,index,x,y   0-based pixels of the image as stored
    NAME/splits.csv         image,split               optional: train, val or test
    ```
    Without `splits.csv` a fixed tenth of the images is validation and another tenth test.

    Args:
        path: the folder `NAME`.
        sigma: standard deviation of the ground truth's blur in pixels, about 1° of visual angle,
            where `images.csv` has no column for it.

    Raises:
        FileNotFoundError: the folder, a table or an image is missing.
        ValueError: a column is missing, a name is unknown, or a size is wrong; the message names
            the file and the cure.
    """
    root = Path(path)
    if not root.is_dir():
        raise FileNotFoundError(f"no data set here: {root} is not a folder; set data.dataset.path")
    images = _read_table(root / "images.csv")
    if repeated := images["image"][images["image"].duplicated()].tolist():
        raise ValueError(f"{root / 'images.csv'} lists {repeated[0]!r} twice")
    file = root / "fixations.csv.gz"
    file = file if file.is_file() else root / "fixations.csv"
    fixations = _read_table(file)
    _check_image_names(fixations["image"], images["image"], file)
    by_image = fixations.groupby("image")
    subjects = fixations["subject"].astype("category").cat.codes
    stimuli = []
    blurs = images["sigma"].astype(float) if "sigma" in images else [None] * len(images)
    listed = images[TABLE_COLUMNS["images.csv"]].itertuples(index=False)
    for (name, width, height), blur in zip(listed, blurs, strict=True):
        size = (int(height), int(width))
        file = root / "images" / name
        if not file.is_file():
            raise FileNotFoundError(f"{root / 'images.csv'} lists {name!r}, but {file} is missing")
        if image_size(file) != size:
            h, w = image_size(file)
            raise ValueError(f"{file} is {w}x{h}, but images.csv says {size[1]}x{size[0]}")
        rows = by_image.indices.get(name, np.empty(0, dtype=np.int64))
        points = fixations[["x", "y"]].iloc[rows].to_numpy(np.float64)
        observers = np.asarray(subjects.iloc[rows], dtype=np.int64)
        read = partial(read_image, file)
        stimuli.append(Stimulus(name, size, points, observers, read, blur))
    return SaliencyDataset(root.name, stimuli, _read_splits(root, images["image"]), sigma)


def _read_table(file: Path) -> pd.DataFrame:
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing; its columns are {_required_columns(file)}")
    try:
        table = pd.read_csv(file, dtype={"image": str, "subject": str})
    except (ValueError, OSError) as error:
        raise ValueError(
            f"{file} is not a table ({error}); it needs {_required_columns(file)}"
        ) from error
    if missing := [column for column in _required_columns(file) if column not in table]:
        raise ValueError(f"{file} lacks the columns {missing}; it needs {_required_columns(file)}")
    for column in [*_required_columns(file), *(OPTIONAL_COLUMNS & set(table))]:
        given = table[column]
        if column in NUMERIC_COLUMNS:
            table[column] = pd.to_numeric(given, errors="coerce")
        if (blank := table[column].isna()).any():
            row = int(np.flatnonzero(blank)[0])
            kind = "a number" if column in NUMERIC_COLUMNS else "given"
            raise ValueError(f"{file}, line {row + 2}: {column}={given[row]} is not {kind}")
    return table


def _required_columns(file: Path) -> list[str]:
    return TABLE_COLUMNS[file.name.removesuffix(".gz")]


def _check_image_names(names: "pd.Series[str]", images: "pd.Series[str]", file: Path) -> None:
    if unknown := sorted(set(names) - set(images)):
        raise ValueError(f"{file} names {unknown[0]!r}, which images.csv does not list")


def _read_splits(root: Path, images: "pd.Series[str]") -> dict[str, list[int]]:
    file = root / "splits.csv"
    if not file.is_file():
        order = np.random.default_rng(0).permutation(len(images)).tolist()
        if len(order) < len(SPLIT_NAMES):
            raise ValueError(f"{root} has {len(order)} images; train, val and test need one each")
        tenth = max(1, len(order) // 10)
        return {
            "train": order[2 * tenth :],
            "val": order[tenth : 2 * tenth],
            "test": order[:tenth],
        }
    table = _read_table(file)
    _check_image_names(table["image"], images, file)
    if wrong := sorted(set(table["split"]) - set(SPLIT_NAMES)):
        raise ValueError(f"{file} has the split {wrong[0]!r}; the choices are {list(SPLIT_NAMES)}")
    position = {name: i for i, name in enumerate(images)}
    splits: dict[str, list[int]] = {split: [] for split in SPLIT_NAMES}
    for name, split in table[["image", "split"]].itertuples(index=False):
        splits[split].append(position[name])
    if empty := [split for split, members in splits.items() if not members]:
        raise ValueError(f"{file} puts no image into {empty}")
    return splits
