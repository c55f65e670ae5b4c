"""Data sets in the HDF5 files of pysaliency, the field's reference library."""

import os
from collections import Counter
from functools import partial
from pathlib import Path, PurePath
from typing import NamedTuple

import h5py
import numpy as np
import torch
from jaxtyping import UInt8
from numpy.typing import NDArray
from torch import Tensor

from deepsal.data.dataset import SaliencyDataset, Stimulus
from deepsal.data.datasets import reading
from deepsal.data.datasets.card import OFF_IMAGE_LIMIT
from deepsal.data.image_files import image_size, read_image


class _FixationRows(NamedTuple):
    """Position (x, y), image and observer of each fixation, one row per fixation."""

    points: NDArray[np.float64]
    images: NDArray[np.int64]
    observers: NDArray[np.int64]


def read_pysaliency_hdf5(
    path: str | Path,
    sigma: float,
    pixels_per_degree: float | None = None,
    split: str | None = None,
    off_image_limit: float = OFF_IMAGE_LIMIT,
    stimuli: str = "stimuli.hdf5",
    fixations: str = "fixations.hdf5",
) -> SaliencyDataset:
    """Read `PATH/stimuli.hdf5` and `PATH/fixations.hdf5`.

    Stimuli are of the type `Stimuli` (arrays inside) or `FileStimuli` (names of image files, from
    version 2.0 on relative to the HDF5 file), fixations of the type `Fixations`, `FixationTrains`
    or `ScanpathFixations`. In pysaliency, pixel i holds i ≤ x < i+1. deepsal's coordinates start
    at the first pixel's centre and are half a pixel less. A fixed tenth of the images is validation
    and another one test.

    Args:
        path: the folder.
        sigma: standard deviation of the ground truth's blur in pixels, about 1° of visual angle.
        pixels_per_degree: pixels of the stored image per degree of visual angle; None if unknown.
        split: `all` or `val`: which images are the test images; None for the random split.
        off_image_limit: the largest share of fixations off their images.
        stimuli: name of the file of images in the folder.
        fixations: name of the file of fixations in the folder.

    Raises:
        FileNotFoundError: a file is missing; the message names the option to set.
        ValueError: a file of another type, an image of another size than stated, pixels that are
            not uint8 or bool, fixations on images that do not exist, or too many off their images.
    """
    root = Path(path)
    for name in (stimuli, fixations):
        if not (root / name).is_file():
            raise FileNotFoundError(
                f"no data set here: {root / name} is missing; set data.dataset.path"
            )
    images = _read_stimuli(root / stimuli)
    rows = _read_fixations(root / fixations)
    if len(rows.images) and not 0 <= rows.images.min() <= rows.images.max() < len(images):
        raise ValueError(
            f"{root / fixations} has fixations on image {rows.images.max()}, but "
            f"{root / stimuli} has {len(images)} images"
        )
    dropped: Counter[str] = Counter()
    people = range(int(rows.observers.max(initial=0)) + 1)
    order = np.argsort(rows.images, kind="stable")
    rows = _FixationRows(rows.points[order], rows.images[order], rows.observers[order])
    bounds = np.searchsorted(rows.images, np.arange(len(images) + 1))
    viewed = []
    for image, start, end in zip(images, bounds, bounds[1:], strict=False):
        points, observers = rows.points[start:end], rows.observers[start:end]
        points_by_observer = [points[observers == person] for person in people]
        points, observers = reading.fixations_on_image(points_by_observer, image.size, dropped)
        viewed.append(Stimulus(image.name, image.size, points, observers, image.read))
    off, total = dropped[reading.OFF_IMAGE], len(rows.points)
    option = "data.dataset.off_image_limit"
    reading.check_off_image_share(root.name, off, total, off_image_limit, option)
    reading.log_dropped_fixations(root.name, dropped)
    splits = reading.splits_by_option(
        split, len(viewed), lambda: reading.random_splits(len(viewed), 0)
    )
    return SaliencyDataset(
        root.name, viewed, splits, sigma, pixels_per_degree, dropped=dict(+dropped)
    )


def _read_stimuli(file: Path) -> list[Stimulus]:
    """Return the images, without fixations yet."""
    no_points, nobody = np.empty((0, 2)), np.empty(0, dtype=np.int64)
    with reading.wrap_read_errors(file, "pysaliency"), h5py.File(file, "r") as content:
        kind, count = _decode_text(content.attrs["type"]), int(content.attrs["size"])
        if kind == "Stimuli":
            for array in (content[str(i)] for i in range(count)):
                _check_pixel_type(array)
            return [
                Stimulus(n, content[n].shape[:2], no_points, nobody, partial(_read_pixels, file, n))
                for n in map(str, range(count))
            ]
        if kind != "FileStimuli":
            raise ValueError(f"its type is {kind}, not Stimuli or FileStimuli")
        names = [_decode_text(name) for name in content["filenames"]]
        sizes = [(int(shape[0]), int(shape[1])) for shape in content["shapes"]]
        is_relative = _decode_text(content.attrs["version"]) >= "2.0"
    shared = os.path.commonpath([PurePath(name).parent for name in names])
    stimuli = []
    for name, size in zip(names, sizes, strict=True):
        image = file.parent / name if is_relative else Path(name)
        if not image.is_file():
            raise FileNotFoundError(f"{file} lists {image}, which is missing")
        reading.check_image_size(image, image_size(image), size, file)
        title = PurePath(os.path.relpath(name, shared or ".")).as_posix()
        stimuli.append(Stimulus(title, size, no_points, nobody, partial(read_image, image)))
    return stimuli


def _check_pixel_type(array: h5py.Dataset) -> None:
    """Refuse an array of pixels whose white or channels are not known, such as floats."""
    channels = array.shape[2] if array.ndim == 3 else 1
    image = array.ndim in (2, 3) and channels in (1, 3, 4)
    if not image or array.dtype not in (np.uint8, np.bool_):
        raise ValueError(
            f"image {array.name} is {array.dtype} {array.shape}; store uint8 with the shape "
            "(height, width) or (height, width, 3)"
        )


def _read_pixels(file: Path, name: str) -> UInt8[Tensor, "3 H W"]:
    with h5py.File(file, "r") as content:
        pixels = torch.from_numpy(content[name][...])
    if pixels.dtype == torch.bool:
        pixels = 255 * pixels.byte()
    rgb = pixels.view(*pixels.shape[:2], -1)[..., :3]
    return rgb.permute(2, 0, 1).expand(3, -1, -1).contiguous()


def _read_fixations(file: Path) -> _FixationRows:
    with reading.wrap_read_errors(file, "pysaliency"), h5py.File(file, "r") as content:
        kind = _decode_text(content.attrs["type"])
        if kind == "Fixations":
            people = "subject" if "subject" in content else "subjects"
            columns = [content[key] for key in ("x", "y", "n", people)]
        elif kind == "FixationTrains":
            keys = ("train_xs", "train_ys", "train_ns", "train_subjects")
            columns = [content[key] for key in keys]
        elif kind == "ScanpathFixations":
            paths = content["scanpaths"]
            columns = [paths["xs"], paths["ys"], paths["n"], paths["scanpath_attributes/subject"]]
        else:
            raise ValueError(
                f"its type is {kind}, not Fixations, FixationTrains or ScanpathFixations"
            )
        return _flatten_scanpaths(*(column[...] for column in columns))


def _flatten_scanpaths(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    images: NDArray[np.int64],
    observers: NDArray[np.int64],
) -> _FixationRows:
    """Return one row per fixation; scanpaths are padded with NaN to one length."""
    if x.ndim == 2:
        real = ~np.isnan(x)
        images, observers = (
            np.broadcast_to(v[:, None], x.shape)[real] for v in (images, observers)
        )
        x, y = x[real], y[real]
    points = np.stack([x, y], axis=1).astype(np.float64) - 0.5
    return _FixationRows(points, images.astype(np.int64), observers.astype(np.int64))


def _decode_text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
