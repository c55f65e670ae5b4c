"""Labelled boxes on images, and the share of a density inside each."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BOX_COLUMNS = ("image", "label", "x0", "y0", "x1", "y1")


class Box(NamedTuple):
    """Box on an upright image, in pixels from its left upper corner.

    The edges are those of pixels: (0, 0, width, height) is the whole image, and (0, 0, 1, 1) its
    first pixel.
    """

    label: str
    x0: float
    y0: float
    x1: float
    y1: float


def parse_box(text: str) -> Box:
    """Return the box of an option.

    Args:
        text: such as `face=10,20,110,140`.

    Raises:
        ValueError: it is no label and four numbers, or the box has no area.

    >>> parse_box("face=10,20,110,140")
    Box(label='face', x0=10.0, y0=20.0, x1=110.0, y1=140.0)
    """
    label, _, numbers = text.rpartition("=")
    return _checked_box(label, numbers.split(","), f"--box {text}")


def read_boxes(file: Path) -> dict[str, list[Box]]:
    """Return the boxes of a CSV file by image; the columns are `BOX_COLUMNS`.

    Raises:
        ValueError: the file cannot be read, a column is missing, or a row is no box; the message
            names the option `--boxes`, the file and the line.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise ValueError(
            f"--boxes {file} cannot be read ({reason}); set --boxes to a CSV file with the columns "
            f"{','.join(BOX_COLUMNS)}"
        ) from error
    boxes: dict[str, list[Box]] = {}
    rows = csv.DictReader(io.StringIO(text), skipinitialspace=True)
    if missing := [name for name in BOX_COLUMNS if name not in (rows.fieldnames or ())]:
        raise ValueError(
            f"--boxes {file} lacks the columns {', '.join(missing)}; its first line must be "
            f"{','.join(BOX_COLUMNS)}"
        )
    for row in rows:
        numbers = [row[name] or "" for name in BOX_COLUMNS[2:]]
        box = _checked_box(row["label"] or "", numbers, f"--boxes {file}, line {rows.line_num}")
        boxes.setdefault(row["image"] or "", []).append(box)
    return boxes


def boxes_of_images(
    images: Sequence[Path], common: Sequence[Box], by_image: Mapping[str, Sequence[Box]]
) -> dict[Path, list[Box]]:
    """Return the boxes of each image.

    Args:
        images: paths.
        common: boxes of every image.
        by_image: boxes by the end of an image's path, such as `b.jpg` or `a/b.jpg`.

    Raises:
        ValueError: an image of `by_image` is none of the images, or is several of them; or an image
            has two boxes of one label.
    """
    boxes = {image: [*common] for image in images}
    for name, own in by_image.items():
        parts = Path(name).parts
        matches = [image for image in images if parts and image.parts[-len(parts) :] == parts]
        if len(matches) != 1:
            problem = f"is {len(matches)} of the images; add their folder" if matches else "is none"
            raise ValueError(f"the boxes' image {name!r} {problem} (of {len(images)} images)")
        boxes[matches[0]] += own
    for image, its in boxes.items():
        labels = [box.label for box in its]
        if repeated := {label for label in labels if labels.count(label) > 1}:
            raise ValueError(f"{image} has two boxes {min(repeated)!r}; give each its own label")
    return boxes


def check_boxes(boxes: Sequence[Box], size: tuple[int, int]) -> None:
    """Check that boxes lie on an image of a size (height, width).

    Raises:
        ValueError: one does not.
    """
    height, width = size
    for box in boxes:
        if box.x0 < 0 or box.y0 < 0 or box.x1 > width or box.y1 > height:
            edges = ",".join(f"{edge:g}" for edge in box[1:])
            raise ValueError(
                f"the box {box.label}={edges} leaves the upright image of {width}x{height} pixels"
            )


def box_share(density: NDArray[np.float32], box: Box) -> float:
    """Return the sum of a density (H, W) inside a box; a pixel counts by the part inside.

    >>> round(box_share(np.full((2, 4), 1 / 8, np.float32), Box("", 0.5, 0, 2, 1)), 4)
    0.1875
    """
    height, width = density.shape
    x0, y0, x1, y1 = map(float, box[1:])
    across, down = _overlaps(width, x0, x1), _overlaps(height, y0, y1)
    return float(down @ density.astype(np.float64) @ across)


def quadrants(size: tuple[int, int]) -> list[Box]:
    """Return the four quadrants of an image of a size (height, width)."""
    height, width = size
    x, y = width / 2, height / 2
    return [
        Box("top_left", 0, 0, x, y),
        Box("top_right", x, 0, width, y),
        Box("bottom_left", 0, y, x, height),
        Box("bottom_right", x, y, width, height),
    ]


def _overlaps(length: int, low: float, high: float) -> NDArray[np.float64]:
    """Return the part of each pixel [i, i + 1) that an interval covers."""
    start = np.arange(length, dtype=np.float64)
    covered = np.minimum(high, start + 1) - np.maximum(low, start)
    return np.asarray(covered.clip(0, 1))


def _checked_box(label: str, numbers: Sequence[str], place: str) -> Box:
    try:
        x0, y0, x1, y1 = map(float, numbers)
    except ValueError:
        x0 = y0 = x1 = y1 = math.nan
    box = Box(label.strip(), x0, y0, x1, y1)
    if not box.label or not all(map(math.isfinite, box[1:])) or x0 >= x1 or y0 >= y1:
        raise ValueError(
            f"{place}: a box is a label and four pixel edges x0,y0,x1,y1 with x0 < x1 and y0 < y1"
        )
    return box
