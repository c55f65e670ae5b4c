"""Any data set of pysaliency, the field's reference library, from the HDF5 files that it writes."""

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
from deepsal.data.datasets.reading import (
    fixations_on_image,
    log_dropped_fixations,
    split_positions,
    wrap_read_errors,
)
from deepsal.data.image_files import image_size, read_image


class _FixationRows(NamedTuple):
    """One row per fixation: (x, y), image, subject."""

    points: NDArray[np.float64]
    images: NDArray[np.int64]
    subjects: NDArray[np.int64]


def read_pysaliency_hdf5(
    path: str | Path,
    sigma: float,
    degree: float | None = None,
    stimuli: str = "stimuli.hdf5",
    fixations: str = "fixations.hdf5",
) -> SaliencyDataset:
    """Read `PATH/stimuli.hdf5` and `PATH/fixations.hdf5`.

    Stimuli are of the type `Stimuli` (arrays inside) or `FileStimuli` (names of image files, from
    version 2.0 on relative to the HDF5 file), fixations of the type `Fixations`, `FixationTrains`
    or `ScanpathFixations`. There pixel i holds i ≤ x < i+1, so deepsal's coordinates, which start
    at the first pixel's centre, are half a pixel less. A fixed tenth of the images is validation
    and another one test.

    Args:
        path: the folder.
        sigma: standard deviation of the ground truth's blur in pixels, about 1° of visual angle.
        degree: pixels per degree of visual angle, where known.
        stimuli: name of the file of images in the folder.
        fixations: name of the file of fixations in the folder.

    Raises:
        FileNotFoundError: a file is missing; the message says which option to set.
        ValueError: a file of another type, an image of another size than stated, or fixations on
            images that are not there.
    """
    root = Path(path)
    for name in (stimuli, fixations):
        if not (root / name).is_file():
            raise FileNotFoundError(
                f"no data set here: {root / name} is missing; set data.dataset.path"
            )
    seen = _read_stimuli(root / stimuli)
    made = _read_fixations(root / fixations)
    if len(made.images) and not 0 <= made.images.min() <= made.images.max() < len(seen):
        raise ValueError(
            f"{root / fixations} has fixations on image {made.images.max()}, but "
            f"{root / stimuli} has {len(seen)} images"
        )
    dropped: Counter[str] = Counter()
    people = int(made.subjects.max(initial=0)) + 1
    order = np.argsort(made.images, kind="stable")
    bounds = np.searchsorted(made.images[order], np.arange(len(seen) + 1))
    found = []
    for stimulus, start, end in zip(seen, bounds, bounds[1:], strict=False):
        points, subjects = made.points[order][start:end], made.subjects[order][start:end]
        trains = [points[subjects == person] for person in range(people)]
        on, who = fixations_on_image(trains, stimulus.size, dropped)
        found.append(Stimulus(stimulus.name, stimulus.size, on, who, stimulus.read))
    log_dropped_fixations(root.name, dropped)
    tenth = max(1, len(found) // 10)
    splits = split_positions(
        np.random.default_rng(0).permutation(len(found)).tolist(), tenth, tenth
    )
    return SaliencyDataset(root.name, found, splits, sigma, degree, dropped=dict(+dropped))


def _read_stimuli(file: Path) -> list[Stimulus]:
    """Return the images, without fixations yet."""
    none, nobody = np.empty((0, 2)), np.empty(0, dtype=np.int64)
    with wrap_read_errors(file, "pysaliency"), h5py.File(file, "r") as held:
        kind, count = _decode_text(held.attrs["type"]), int(held.attrs["size"])
        if kind == "Stimuli":
            sizes = [held[str(i)].shape[:2] for i in range(count)]
            readers = [partial(_read_pixels, file, str(i)) for i in range(count)]
            named = zip(sizes, readers, strict=True)
            return [Stimulus(str(i), s, none, nobody, r) for i, (s, r) in enumerate(named)]
        if kind != "FileStimuli":
            raise ValueError(f"its type is {kind}, not Stimuli or FileStimuli")
        names = [_decode_text(name) for name in held["filenames"]]
        shapes = [(int(shape[0]), int(shape[1])) for shape in held["shapes"]]
        relative = _decode_text(held.attrs["version"]) >= "2.0"
    paths = [file.parent / name if relative else Path(name) for name in names]
    for image, shape in zip(paths, shapes, strict=True):
        if not image.is_file():
            raise FileNotFoundError(f"{file} lists {image}, which is missing")
        if image_size(image) != shape:
            raise ValueError(
                f"{image} has (height, width) {image_size(image)}, but {file} says {shape}"
            )
    shared = os.path.commonpath([PurePath(name).parent for name in names])
    titles = [PurePath(os.path.relpath(name, shared or ".")).as_posix() for name in names]
    parts = zip(titles, shapes, paths, strict=True)
    return [Stimulus(t, s, none, nobody, partial(read_image, image)) for t, s, image in parts]


def _read_pixels(file: Path, name: str) -> UInt8[Tensor, "3 H W"]:
    with h5py.File(file, "r") as held:
        pixels = torch.from_numpy(held[name][...])
    grey = pixels[..., None].expand(-1, -1, 3) if pixels.ndim == 2 else pixels[..., :3]
    return grey.permute(2, 0, 1).contiguous()


def _read_fixations(file: Path) -> _FixationRows:
    with wrap_read_errors(file, "pysaliency"), h5py.File(file, "r") as held:
        kind = _decode_text(held.attrs["type"])
        if kind == "Fixations":
            people = held["subject" if "subject" in held else "subjects"]
            return _flatten_scanpaths(held["x"][...], held["y"][...], held["n"][...], people[...])
        if kind == "FixationTrains":
            keys = ("train_xs", "train_ys", "train_ns", "train_subjects")
            return _flatten_scanpaths(*(held[key][...] for key in keys))
        if kind == "ScanpathFixations":
            paths = held["scanpaths"]
            people = paths["scanpath_attributes"]["subject"]
            return _flatten_scanpaths(
                paths["xs"][...], paths["ys"][...], paths["n"][...], people[...]
            )
        raise ValueError(f"its type is {kind}, not Fixations, FixationTrains or ScanpathFixations")


def _flatten_scanpaths(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    images: NDArray[np.int64],
    subjects: NDArray[np.int64],
) -> _FixationRows:
    """Flatten trains, which are padded with NaN to one length."""
    if x.ndim == 2:
        real = ~np.isnan(x)
        images, subjects = (np.broadcast_to(v[:, None], x.shape)[real] for v in (images, subjects))
        x, y = x[real], y[real]
    points = np.stack([x, y], axis=1).astype(np.float64) - 0.5
    return _FixationRows(points, images.astype(np.int64), subjects.astype(np.int64))


def _decode_text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
