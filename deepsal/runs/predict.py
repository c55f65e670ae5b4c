"""Predictions for a person's own images: heat maps, densities, and shares of boxes as files."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

import deepsal
from deepsal.atomic import replace_file, write_json
from deepsal.runs.image_boxes import Box, box_share, check_boxes, quadrants
from deepsal.runs.image_paths import COMPARISON, output_names

if TYPE_CHECKING:  # they import torch, after the options are checked
    from deepsal.data.image_files import UprightImage
    from deepsal.runs.image_predictor import ImagePredictor

MapFormat = Literal["npy", "hdf5"]
MAPS_FILE = "maps.hdf5"


class Prediction(NamedTuple):
    """Density of fixations over an image, and the image."""

    path: Path
    image: "UprightImage"
    density: NDArray[np.float32]
    boxes: Sequence[Box]


class PredictionJob(NamedTuple):
    """Images and the form of their outputs.

    images: paths · folder: of the outputs · boxes: by image · map_format: of the densities ·
    compared: two of the images, or None.
    """

    images: Sequence[Path]
    folder: Path
    boxes: Mapping[Path, Sequence[Box]]
    map_format: MapFormat = "npy"
    compared: tuple[Path, Path] | None = None

    def outputs(self) -> list[Path]:
        """Return the files that the job writes."""
        suffixes = [".overlay.png", ".json", *([".npy"] if self.map_format == "npy" else [])]
        names = [
            f"{name}{suffix}" for name in output_names(self.images).values() for suffix in suffixes
        ]
        names += [MAPS_FILE] if self.map_format == "hdf5" else []
        names += [f"{COMPARISON}.png", f"{COMPARISON}.json"] if self.compared else []
        return [self.folder / name for name in names]

    def refuse_existing(self) -> None:
        """Raise a FileExistsError if an output exists."""
        if existing := [file for file in self.outputs() if file.exists()]:
            more = f" (and {len(existing) - 1} more)" if len(existing) > 1 else ""
            raise FileExistsError(
                f"{existing[0]} exists{more}; set --overwrite, or --to to another folder"
            )


def run_predictions(job: PredictionJob, predictor: "ImagePredictor") -> tuple[int, dict[str, Any]]:
    """Write the outputs of each image; an image that fails is one line on standard error.

    Returns:
        The number of images that failed, and the contents of `comparison.json`, {} without one.

    Raises:
        ValueError: the two images to compare have different sizes.
        OSError: the folder cannot be written to.
    """
    from deepsal.training.progress import lines_of_progress

    names = output_names(job.images)
    compared: dict[Path, Prediction] = {}
    failures = 0
    job.folder.mkdir(parents=True, exist_ok=True)
    with map_writer(job) as write_map:
        for path in lines_of_progress(job.images, "predict", len(job.images)):
            try:
                prediction = predict_file(path, predictor, job.boxes.get(path, ()))
            except (ValueError, FileNotFoundError, MemoryError) as error:
                failures += 1
                print(error, file=sys.stderr)  # noqa: T201
                continue
            write_outputs(prediction, names[path], job, predictor, write_map)
            if job.compared and path in job.compared:
                compared[path] = prediction
        if failures == len(job.images):
            raise ValueError(f"none of {failures} images could be predicted")
    if job.compared and len(compared) == 2:
        first, second = (compared[path] for path in job.compared)
        return failures, compare_predictions(first, second, job.folder)
    return failures, {}


def predict_file(path: Path, predictor: "ImagePredictor", boxes: Sequence[Box] = ()) -> Prediction:
    """Read an image and predict its density.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is no image, or a box leaves the image.
        MemoryError: the image is too large.
    """
    from deepsal.data.image_files import read_upright_image
    from deepsal.rf.memory import is_out_of_memory

    try:
        image = read_upright_image(path)
        try:
            check_boxes(boxes, (image.pixels.shape[1], image.pixels.shape[2]))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        density = np.asarray(predictor.predict_density(image.pixels, path.name).numpy())
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise MemoryError(f"{path} is too large for the memory; set --device cpu") from error
    return Prediction(path, image, density, boxes)


def write_outputs(
    prediction: Prediction,
    name: str,
    job: PredictionJob,
    predictor: "ImagePredictor",
    write_map: Callable[[str, NDArray[np.float32]], str],
) -> None:
    """Write the overlay, the density and the JSON of an image; the JSON is the last."""
    from deepsal.runs.overlay import blend_heat_map, png_of

    file = job.folder / f"{name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    density = prediction.density
    with replace_file(job.folder / f"{name}.overlay.png") as partial:
        partial.write_bytes(png_of(blend_heat_map(prediction.image.pixels, density)))
    height, width = density.shape
    about = {
        "image": str(prediction.path),
        "size": {"width": width, "height": height},
        "orientation": prediction.image.orientation,
        "density": write_map(name, density),
        "checkpoint": str(predictor.checkpoint),
        "training": predictor.training,
        "version": deepsal.__version__,
        "quadrants": {box.label: box_share(density, box) for box in quadrants(density.shape)},
        "boxes": box_rows(prediction),
    }
    write_json(file, about)


def box_rows(prediction: Prediction) -> list[dict[str, Any]]:
    """Return label, edges and share of each box, and its area as a part of the image."""
    return [
        {
            **box._asdict(),
            "share": box_share(prediction.density, box),
            "area": (box.x1 - box.x0) * (box.y1 - box.y0) / prediction.density.size,
        }
        for box in prediction.boxes
    ]


@contextmanager
def map_writer(job: PredictionJob) -> Iterator[Callable[[str, NDArray[np.float32]], str]]:
    """Yield a function that writes the density of an output's name and returns its place."""
    if job.map_format == "npy":
        yield lambda name, density: _write_npy(job.folder, name, density)
        return
    import h5py

    with replace_file(job.folder / MAPS_FILE) as partial, h5py.File(partial, "w") as store:

        def write(name: str, density: NDArray[np.float32]) -> str:
            store.create_dataset(name, data=density, compression="gzip", shuffle=True)
            return f"{MAPS_FILE}:{name}"

        yield write


def compare_predictions(first: Prediction, second: Prediction, folder: Path) -> dict[str, Any]:
    """Write `comparison.png` and `comparison.json` of two versions of an image.

    Returns:
        The contents of the JSON: `images`; `quadrants` and `boxes` with the share in each image and
        the difference, second − first (boxes are matched by their labels, null where one lacks
        it); and `similarity`: `cc`, `sim`, and `kl` of the second from the first, in nats.

    Raises:
        ValueError: the images have different sizes.
    """
    from deepsal.runs.overlay import draw_comparison, save_figure

    sizes = ["{1}x{0}".format(*each.density.shape) for each in (first, second)]
    if sizes[0] != sizes[1]:
        raise ValueError(
            f"--compare: {first.path} has {sizes[0]} pixels and {second.path} {sizes[1]}; "
            "save both with one size"
        )
    pair = (first, second)
    frames = [quadrants(each.density.shape) for each in pair]
    summary = {
        "images": [str(each.path) for each in pair],
        "quadrants": _compare_shares(pair, frames),
        "boxes": _compare_shares(pair, [each.boxes for each in pair]),
        "similarity": map_similarity(first.density, second.density),
    }
    figure = draw_comparison(
        (str(first.path), str(second.path)),
        (first.image.pixels, second.image.pixels),
        (first.density, second.density),
        (first.boxes, second.boxes),
    )
    with replace_file(folder / f"{COMPARISON}.png") as partial:
        save_figure(figure, partial)
    write_json(folder / f"{COMPARISON}.json", summary)
    return summary


def map_similarity(
    first: NDArray[np.float32], second: NDArray[np.float32]
) -> dict[Literal["cc", "sim", "kl"], float]:
    """Return CC, SIM, and KL of the second density from the first (`deepsal.metrics`)."""
    import torch

    from deepsal.metrics import functional

    truth, density = (torch.from_numpy(each).double()[None] for each in (first, second))
    log_density = density.log()
    return {
        "cc": functional.cc(log_density, truth).item(),
        "sim": functional.sim(log_density, truth).item(),
        "kl": functional.kl(log_density, truth).item(),
    }


def _compare_shares(
    pair: Sequence[Prediction], boxes: Sequence[Sequence[Box]]
) -> dict[str, dict[str, float | None]]:
    first, second = (
        {box.label: box_share(each.density, box) for box in own}
        for each, own in zip(pair, boxes, strict=True)
    )
    return {
        label: {
            "first": first.get(label),
            "second": second.get(label),
            "difference": second[label] - first[label]
            if label in first and label in second
            else None,
        }
        for label in {**first, **second}
    }


def _write_npy(folder: Path, name: str, density: NDArray[np.float32]) -> str:
    file = folder / f"{name}.npy"
    file.parent.mkdir(parents=True, exist_ok=True)
    with replace_file(file) as partial, partial.open("wb") as stream:
        np.save(stream, density)
    return file.name
