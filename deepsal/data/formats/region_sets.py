"""Region sets: the faces, text or objects of images, as boxes in a CSV file or as label images.

Letters in shapes: R regions, H height, W width of an image.
"""

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

BoolArray = NDArray[np.bool_]
BOX_COLUMNS = ["image", "label", "x0", "y0", "x1", "y1"]
LABEL_COLUMNS = ["value", "label"]
MAX_VALUE = 255
"""Largest value of a pixel of a label image."""


class RegionSet(NamedTuple):
    """Regions of images.

    labels: names of the R regions, in the order of the file · masks: function of an image's name
    and its size (H, W); returns (R, H, W), true inside the region.
    """

    labels: tuple[str, ...]
    masks: Callable[[str, tuple[int, int]], BoolArray]


def read_region_set(path: str | Path) -> RegionSet:
    """Read boxes from a CSV file, or label images from a folder.

    ```
    boxes.csv          image,label,x0,y0,x1,y1   pixels of the image as stored; x0 ≤ x < x1
    NAME/labels.csv    value,label               one row per region, value 1 … 255
    NAME/IMAGE.png     pixels: 0 for no region, or the value of a region; of the image's size
    ```
    An image without a row in `boxes.csv` has no regions. A label image is named after its image,
    with the suffix `.png`.

    Args:
        path: the CSV file or the folder `NAME`.

    Raises:
        FileNotFoundError: the file or `labels.csv` is missing.
        ValueError: a row or a pixel is wrong; the message names the file and the line. `masks`
            raises the same errors for a label image, and for a box that leaves its image.
    """
    path = Path(path)
    return _read_label_folder(path) if path.is_dir() else _read_boxes(path)


def _read_boxes(file: Path) -> RegionSet:
    boxes: dict[str, list[tuple[int, str, list[float]]]] = {}
    labels: dict[str, None] = {}
    for line, row in _read_rows(file, BOX_COLUMNS):
        try:
            ends = [float(row[column]) for column in BOX_COLUMNS[2:]]
        except ValueError as error:
            raise ValueError(f"{file}, line {line}: {error}; write numbers of pixels") from error
        x0, y0, x1, y1 = ends
        if not (all(map(math.isfinite, ends)) and 0 <= x0 < x1 and 0 <= y0 < y1):
            raise ValueError(
                f"{file}, line {line}: the box {x0:g},{y0:g},{x1:g},{y1:g} is empty or outside; "
                "it needs 0 <= x0 < x1 and 0 <= y0 < y1"
            )
        labels[row["label"]] = None
        boxes.setdefault(row["image"], []).append((line, row["label"], ends))

    def masks(image: str, size: tuple[int, int]) -> BoolArray:
        drawn = np.zeros((len(labels), *size), np.bool_)
        for line, label, (x0, y0, x1, y1) in boxes.get(image, []):
            if x1 > size[1] or y1 > size[0]:
                raise ValueError(
                    f"{file}, line {line}: the box ends at {x1:g},{y1:g}, but {image} is "
                    f"{size[1]}x{size[0]}; boxes count pixels of the image as stored"
                )
            rows = slice(math.floor(y0), math.ceil(y1))
            drawn[[*labels].index(label), rows, math.floor(x0) : math.ceil(x1)] = True
        return drawn

    return RegionSet(tuple(labels), masks)


def _read_label_folder(folder: Path) -> RegionSet:
    table = folder / "labels.csv"
    values: dict[int, str] = {}
    for line, row in _read_rows(table, LABEL_COLUMNS):
        text = row["value"]
        value = int(text) if text.isascii() and text.isdigit() else 0
        if not 1 <= value <= MAX_VALUE or value in values or row["label"] in values.values():
            raise ValueError(
                f"{table}, line {line}: {text},{row['label']} is repeated or has no value of "
                f"1 … {MAX_VALUE}; give each label one value"
            )
        values[value] = row["label"]

    def masks(image: str, size: tuple[int, int]) -> BoolArray:
        file = folder / Path(image).with_suffix(".png")
        pixels = _read_label_image(file, image)
        if pixels.shape != size:
            height, width = pixels.shape
            raise ValueError(
                f"{file} is {width}x{height}, but {image} is {size[1]}x{size[0]}; save it at the "
                "size of the image"
            )
        if unknown := sorted({*np.unique(pixels).tolist()} - {0, *values}):
            raise ValueError(f"{file} has the value {unknown[0]}, which {table} does not list")
        return np.stack([pixels == value for value in values])

    return RegionSet(tuple(values.values()), masks)


def _read_label_image(file: Path, image: str) -> NDArray[np.uint8]:
    try:
        with Image.open(file) as opened:
            mode, pixels = opened.mode, np.array(opened)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{file} is missing; add the label image of {image}, all 0 if it has no region"
        ) from error
    except Exception as error:  # Pillow raises many types for a damaged file
        raise ValueError(f"{file} is not a readable image: {error}") from error
    if mode not in {"1", "L", "P"}:
        raise ValueError(f"{file} has the mode {mode}; save it with one 8-bit value per pixel")
    return pixels.astype(np.uint8)


def _read_rows(file: Path, columns: list[str]) -> list[tuple[int, dict[str, str]]]:
    """Return the rows of a CSV file with their line numbers; no field is empty, and one row is."""
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing; its columns are {','.join(columns)}")
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream)
            header = [name.strip() for name in next(reader, [])]
            if missing := [column for column in columns if column not in header]:
                raise ValueError(f"it lacks the columns {','.join(missing)}")
            rows = [(reader.line_num, [field.strip() for field in row]) for row in reader]
    except (ValueError, csv.Error, OSError) as error:
        raise ValueError(f"{file}: {error}; it needs {','.join(columns)}") from error
    named = []
    for line, fields in rows:
        if not any(fields):
            continue
        row = dict(zip(header, fields, strict=False))
        if len(fields) != len(header) or not all(row[column] for column in columns):
            raise ValueError(
                f"{file}, line {line}: it needs {len(header)} fields: {','.join(header)}"
            )
        named.append((line, row))
    if not named:
        raise ValueError(f"{file} has no rows; it needs {','.join(columns)}")
    return named
