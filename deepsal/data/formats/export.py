"""Any data set in the generic layout of `folder`, for other programs and for `data=folder`."""

import os
import shutil
from functools import partial
from pathlib import Path, PurePosixPath

import pandas as pd
from PIL import Image

from deepsal.data.dataset import SaliencyDataset, Stimulus
from deepsal.data.image_files import read_image


def write_csv_folder(dataset: SaliencyDataset, to: Path) -> None:
    """Write a data set as `folder` reads it; nothing half-written stays.

    Image files are copied as they are; drawn images become PNG files. `folder` reads back the same
    pixels, points and splits; subjects are numbered in the same order.

    Args:
        dataset: what to write.
        to: the new folder.

    Raises:
        FileExistsError: `to` is there and not empty.
        ValueError: a name leads out of the folder, or there are no fixations to write.
    """
    if dataset.hidden:
        raise ValueError(f"{dataset.name} has images only; the generic layout needs fixations")
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise FileExistsError(f"{to} is there already; name a new folder")
    to.parent.mkdir(parents=True, exist_ok=True)
    part = to.with_name(f"{to.name}.part-{os.getpid()}")
    try:
        _write_tables_and_images(dataset, part)
        os.replace(part, to)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write_tables_and_images(dataset: SaliencyDataset, folder: Path) -> None:
    names = [_write_image(stimulus, folder / "images") for stimulus in dataset.stimuli]
    sizes = [stimulus.size for stimulus in dataset.stimuli]
    rows = [(name, width, height) for name, (height, width) in zip(names, sizes, strict=True)]
    images = pd.DataFrame(rows, columns=["image", "width", "height"])
    if any(stimulus.sigma for stimulus in dataset.stimuli):
        images["sigma"] = [stimulus.sigma or dataset.sigma for stimulus in dataset.stimuli]
    images.to_csv(folder / "images.csv", index=False)
    tables = [_fixation_table(*pair) for pair in zip(names, dataset.stimuli, strict=True)]
    pd.concat(tables).to_csv(folder / "fixations.csv.gz", index=False)
    sides = [(names[i], split) for split, positions in dataset.splits.items() for i in positions]
    pd.DataFrame(sides, columns=["image", "split"]).to_csv(folder / "splits.csv", index=False)


def _fixation_table(name: str, stimulus: Stimulus) -> pd.DataFrame:
    table = pd.DataFrame({"image": name, "subject": stimulus.subjects})
    table["index"] = table.groupby("subject").cumcount()
    table["subject"] = table["subject"].map("{:06d}".format)  # sorts as the numbers do
    return table.assign(x=stimulus.fixations[:, 0], y=stimulus.fixations[:, 1])


def _write_image(stimulus: Stimulus, images: Path) -> str:
    """Write one image and return its name under `images`."""
    name = PurePosixPath(stimulus.name)
    if name.is_absolute() or ".." in name.parts:
        raise ValueError(f"the image name {stimulus.name!r} leads out of the folder")
    read = stimulus.read
    if isinstance(read, partial) and read.func is read_image:
        (images / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(read.args[0], images / name)
        return str(name)
    drawn = name.with_name(f"{name.name}.png")
    (images / drawn).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(read().permute(1, 2, 0).numpy()).save(images / drawn)
    return str(drawn)
