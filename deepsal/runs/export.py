"""Export of predictions as files, for the servers of benchmarks."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from deepsal.atomic import replace_file
from deepsal.data.batch import FixationImages, ImageRegion
from deepsal.data.frame import padded_region, place_in_frame
from deepsal.data.image_files import read_image
from deepsal.training.progress import lines_of_progress
from deepsal.training.task import DensityPredictor

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
HDF5_SUFFIXES = (".hdf5", ".h5")


class ImagePrediction(NamedTuple):
    """Prediction of a network for an image, at the image's own size."""

    name: str
    log_density: Float[Tensor, "H W"]


class ExportInput(NamedTuple):
    """An image to predict: values in [0, 1], stored size, region as in `Sample`."""

    image: Float[Tensor, "3 h w"]
    name: str
    size: tuple[int, int]
    region: ImageRegion | None


class PredictionExport:
    """Export of a network's predictions for a benchmark's server.

    The suffix of `path` chooses the format. `.hdf5` or `.h5`: one file of float32 log densities by
    image name (the Tuebingen server: MIT300 and CAT2000). Any other: a folder of 8-bit PNGs (the
    SALICON challenge). `network=maps network.path=PATH` scores either. Writing is atomic.

    Args:
        path: the file or the folder to write.
        images: a folder of images; None for the images of the call.
        size: (h, w) of the network's input, for the images of a folder.
        fit: of an image of a folder whose shape is another: `squeeze` changes its shape, any other
            keeps it, with padding, as a test does (`SaliencyDataModule`).

    Raises:
        FileExistsError: `path` exists.
        ValueError: the folder has no image, or two images have the same name.
    """

    def __init__(
        self,
        path: str | Path,
        images: str | Path | None = None,
        size: Sequence[int] = (192, 256),
        fit: str = "squeeze",
    ) -> None:
        self.path = Path(path)
        self.images = Path(images) if images else None
        self.size = (size[0], size[1])
        self.fit = fit

    def __call__(self, predict: DensityPredictor, images: FixationImages) -> Path:
        """Write the predictions and return their path.

        Args:
            predict: images `(1, 3, h, w)`, output size, names, region → log densities `(1, H, W)`.
            images: the images to predict if `images` of the constructor is None.
        """
        self.check_paths()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write = write_hdf5 if self.path.suffix in HDF5_SUFFIXES else write_png_folder
        if self.images is None:
            inputs, total = self.network_inputs(images), len(images)
        else:
            files = list_image_files(self.images)
            inputs, total = self._read(files), len(files)
        inputs = lines_of_progress(inputs, "export", total)
        with replace_file(self.path) as partial:
            write(partial, (predict_image(predict, *image) for image in inputs))
        return self.path

    def check_paths(self, resumed: bool = False) -> None:
        """Check that the files to read are there, and those to write are not.

        Args:
            resumed: a resumed run may have written them.

        Raises:
            FileExistsError: `path` exists.
            ValueError: the folder has no image.
        """
        if self.path.exists() and not resumed:
            raise FileExistsError(f"{self.path} exists; set export.path to a new name")
        if self.images is not None:
            list_image_files(self.images)

    @staticmethod
    def network_inputs(images: FixationImages) -> Iterator[ExportInput]:
        """Yield the arguments of `predict_image` for each image."""
        for index in range(len(images)):
            sample = images[index]
            yield ExportInput(sample.image, sample.name, sample.size, sample.region)

    def _read(self, files: Sequence[Path]) -> Iterator[ExportInput]:
        for file in files:
            image = read_image(file)
            size, region = (image.shape[1], image.shape[2]), ImageRegion(0, 0, *self.size)
            if self.fit != "squeeze":
                region = padded_region(size, self.size)
            small = v2.functional.resize(image, list(region[2:]), antialias=True) / 255
            padding = None if region.fills(self.size) else region
            yield ExportInput(place_in_frame(small, self.size, region), file.name, size, padding)


def predict_image(
    predict: DensityPredictor,
    image: Float[Tensor, "3 h w"],
    name: str,
    size: tuple[int, int],
    region: ImageRegion | None = None,
) -> ImagePrediction:
    """Predict one image.

    Args:
        predict: the predictor of a network.
        image: the network's input, in [0, 1].
        name: of the image.
        size: (H, W) of the image itself.
        region: of the image in `image`; None without padding.
    """
    return ImagePrediction(name, predict(image[None], size, [name], region)[0])


def list_image_files(folder: Path) -> list[Path]:
    """Return the images of a folder in order.

    Raises:
        ValueError: it has none.
    """
    files = sorted(f for f in folder.glob("*") if f.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise ValueError(f"export.images={folder} holds no image ({', '.join(IMAGE_SUFFIXES)})")
    return files


def write_hdf5(path: Path, predictions: Iterable[ImagePrediction]) -> None:
    """Write log densities (natural logarithm, summing to one), float32, one array per image."""
    with h5py.File(path, "w") as file:
        for name, log_density in predictions:
            if name in file:
                raise ValueError(f"two images are called {name}; an HDF5 file holds one of a name")
            values = log_density.numpy().astype(np.float32)
            file.create_dataset(name, data=values, compression="gzip", shuffle=True)


def write_png_folder(folder: Path, predictions: Iterable[ImagePrediction]) -> None:
    """Write one 8-bit grey PNG per image, `grey_levels` of its density, in its name's folder."""
    folder.mkdir()
    for name, log_density in predictions:
        file = folder / Path(name).with_suffix(".png")
        if file.exists():
            raise ValueError(f"two images would be written as {file.name}; rename one")
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(grey_levels(log_density)).save(file)


def grey_levels(log_density: Float[Tensor, "H W"]) -> NDArray[np.uint8]:
    """Return the density as 0 … 255, its maximum at 255.

    Half a level is added before the fraction is cut off: cutting alone would make every pixel half
    a level too small on average.

    >>> grey_levels(torch.tensor([[1.0, 0.25, 0.001]]).log())
    array([[255,  64,   0]], dtype=uint8)
    """
    density = (log_density.double() - log_density.max()).exp()
    whole: UInt8[Tensor, "H W"] = (255 * density + 0.5).floor().to(torch.uint8)
    return np.asarray(whole)
