"""The CSV layout: a folder of images and three small tables, read and written."""

import shutil
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
from PIL import Image

from deepsal.atomic import replace_file
from deepsal.data.dataset import SPLIT_NAMES, SaliencyDataset, Stimulus
from deepsal.data.datasets.reading import random_splits, splits_by_option
from deepsal.data.image_files import image_size, read_image

TABLE_COLUMNS = {
    "images.csv": ["image", "width", "height"],
    "fixations.csv": ["image", "subject", "index", "x", "y"],
    "splits.csv": ["image", "split"],
}
OPTIONAL_COLUMNS = {"sigma"}
NUMERIC_COLUMNS = {"width", "height", "x", "y", *OPTIONAL_COLUMNS}
NAME_COLUMNS = ("image", "subject", "split")
"""Columns of texts, in which NA and null are names as any other."""


def read_csv_folder(
    path: str | Path, sigma: float | None = None, split: str | None = None
) -> SaliencyDataset:
    """Read a data set in the CSV layout.

    ```
    NAME/images/*.jpg|png   NAME/images.csv           image,width,height[,sigma]
    NAME/fixations.csv[.gz] image,subject,index,x,y   0-based pixels of the image as stored
    NAME/splits.csv         image,split               optional: train, val or test
    ```
    `subject` names the observer. `splits.csv` has images of all three splits, or test images alone.
    Without it a fixed tenth of the images is validation and another tenth test.

    Args:
        path: the folder `NAME`.
        sigma: standard deviation of the ground truth's blur in pixels, about 1° of visual angle,
            for an `images.csv` without that column.
        split: `all`: every image is a test image, whatever `splits.csv` says; None for the splits
            above.

    Raises:
        FileNotFoundError: the folder, a table or an image is missing.
        ValueError: a column is missing, a name is unknown, or a size is wrong; the message names
            the file and the remedy.
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
    observers = fixations["subject"].astype("category").cat.codes
    stimuli = []
    if sigma is None and "sigma" not in images:
        raise ValueError(
            f"{root / 'images.csv'} has no column sigma; set data.dataset.sigma=PIXELS, the blur "
            "of the ground truth, about 1° of visual angle"
        )
    blurs = images["sigma"].astype(float) if "sigma" in images else [None] * len(images)
    sizes = images[TABLE_COLUMNS["images.csv"]].itertuples(index=False)
    for (name, width, height), blur in zip(sizes, blurs, strict=True):
        size = (int(height), int(width))
        file = root / "images" / name
        if not file.is_file():
            raise FileNotFoundError(
                f"{root / 'images.csv'} lists {name!r}, but {file} is missing; add the file, or "
                "remove the image from the tables"
            )
        if image_size(file) != size:
            h, w = image_size(file)
            raise ValueError(f"{file} is {w}x{h}, but images.csv says {size[1]}x{size[0]}")
        rows = by_image.indices.get(name, np.empty(0, dtype=np.int64))
        points = fixations[["x", "y"]].iloc[rows].to_numpy(np.float64)
        who = np.asarray(observers.iloc[rows], dtype=np.int64)
        stimuli.append(Stimulus(name, size, points, who, partial(read_image, file), blur))
    splits = splits_by_option(split, len(stimuli), lambda: _read_splits(root, images["image"]))
    common = float(images["sigma"].median()) if sigma is None else sigma
    return SaliencyDataset(root.name, stimuli, splits, common)


def write_csv_folder(dataset: SaliencyDataset, folder: Path) -> None:
    """Write a data set in the CSV layout; an error leaves no partial folder.

    Image files are copied unchanged. Generated images become PNG files. `read_csv_folder` returns
    the same pixels, points and splits, with the observers numbered in the same order.

    Args:
        dataset: the data set to write.
        folder: the new folder.

    Raises:
        FileExistsError: `folder` exists and is not empty.
        ValueError: an image's name leads out of the folder, or the data set has no fixations.
    """
    if dataset.fixations_hidden:
        raise ValueError(f"{dataset.name} has images only; the CSV layout needs fixations")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} exists already; choose a new folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with replace_file(folder) as part:
        _write_tables_and_images(dataset, part)


def _read_table(file: Path) -> pd.DataFrame:
    required = TABLE_COLUMNS[file.name.removesuffix(".gz")]
    if not file.is_file():
        raise FileNotFoundError(
            f"{file} is missing; its columns are {required}; add the file, or set "
            "data.dataset.path to another data set"
        )
    try:
        names = dict.fromkeys(NAME_COLUMNS, str)
        numbers = {column: [""] for column in ("index", *NUMERIC_COLUMNS)}
        table = pd.read_csv(file, dtype=names, keep_default_na=False, na_values=numbers)
    except (ValueError, OSError) as error:
        raise ValueError(f"{file} is not a table ({error}); it needs {required}") from error
    if missing := [column for column in required if column not in table]:
        raise ValueError(f"{file} lacks the columns {missing}; it needs {required}")
    for column in [*required, *(OPTIONAL_COLUMNS & set(table))]:
        values = table[column]
        if column in NUMERIC_COLUMNS:
            table[column] = pd.to_numeric(values, errors="coerce")
        if (blank := table[column].isna() | (table[column] == "")).any():
            row = int(np.flatnonzero(blank)[0])
            fault = "is not a number" if column in NUMERIC_COLUMNS else "is empty"
            raise ValueError(f"{file}, line {row + 2}: {column}={values[row]} {fault}")
    return table


def _check_image_names(names: "pd.Series[str]", images: "pd.Series[str]", file: Path) -> None:
    if unknown := sorted(set(names) - set(images)):
        raise ValueError(f"{file} names {unknown[0]!r}, which images.csv does not list")


def _read_splits(root: Path, images: "pd.Series[str]") -> dict[str, list[int]]:
    file = root / "splits.csv"
    if not file.is_file():
        if len(images) < len(SPLIT_NAMES):
            raise ValueError(
                f"{root} has {len(images)} images; train, val and test need one each. To score "
                "all images as test images, set data.dataset.split=all"
            )
        return random_splits(len(images), seed=0)
    table = _read_table(file)
    _check_image_names(table["image"], images, file)
    if wrong := sorted(set(table["split"]) - set(SPLIT_NAMES)):
        raise ValueError(f"{file} has the split {wrong[0]!r}; the choices are {list(SPLIT_NAMES)}")
    position = {name: i for i, name in enumerate(images)}
    splits: dict[str, list[int]] = {split: [] for split in SPLIT_NAMES}
    for name, split in table[["image", "split"]].itertuples(index=False):
        splits[split].append(position[name])
    empty = [split for split, members in splits.items() if not members]
    if empty not in ([], ["train", "val"]):
        raise ValueError(
            f"{file} puts no image into {empty}; it needs images of train, val and test, or of "
            "test alone"
        )
    return splits


def _write_tables_and_images(dataset: SaliencyDataset, folder: Path) -> None:
    names = [_write_image(stimulus, folder / "images") for stimulus in dataset.stimuli]
    sizes = [stimulus.size for stimulus in dataset.stimuli]
    rows = [(name, width, height) for name, (height, width) in zip(names, sizes, strict=True)]
    images = pd.DataFrame(rows, columns=TABLE_COLUMNS["images.csv"])
    if any(stimulus.sigma for stimulus in dataset.stimuli):
        images["sigma"] = [stimulus.sigma or dataset.sigma for stimulus in dataset.stimuli]
    images.to_csv(folder / "images.csv", index=False)
    tables = [_fixation_table(*pair) for pair in zip(names, dataset.stimuli, strict=True)]
    pd.concat(tables).to_csv(folder / "fixations.csv.gz", index=False)
    splits = [(names[i], split) for split, members in dataset.splits.items() for i in members]
    table = pd.DataFrame(splits, columns=TABLE_COLUMNS["splits.csv"])
    table.to_csv(folder / "splits.csv", index=False)


def _fixation_table(name: str, stimulus: Stimulus) -> pd.DataFrame:
    table = pd.DataFrame({"image": name, "subject": stimulus.observers})
    table["index"] = table.groupby("subject").cumcount()
    table["subject"] = table["subject"].map("{:06d}".format)  # sorts as the numbers do
    return table.assign(x=stimulus.fixations[:, 0], y=stimulus.fixations[:, 1])


def _write_image(stimulus: Stimulus, images: Path) -> str:
    """Write one image and return its name under `images`."""
    name = PurePosixPath(stimulus.name)
    if name.is_absolute() or ".." in name.parts:
        raise ValueError(f"the image name {stimulus.name!r} leads out of the folder")
    read = stimulus.read
    stored = isinstance(read, partial) and read.func is read_image
    file = images / (name if stored else f"{name}.png")
    file.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(read, partial) and stored:
        shutil.copyfile(read.args[0], file)
    else:
        Image.fromarray(read().permute(1, 2, 0).numpy()).save(file)
    return file.relative_to(images).as_posix()
