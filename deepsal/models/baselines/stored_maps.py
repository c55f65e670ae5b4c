"""Stored saliency maps as a baseline, so that the output of any published model can be scored."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.nn.functional import interpolate
from typing_extensions import override

from deepsal.data.batch import MapBatch
from deepsal.models.baselines.baseline import (
    EIGHT_BIT_FLOOR,
    Baseline,
    ImageBatch,
    to_log_density,
)

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
FLOAT_FLOOR = 1e-7
"""The floor of a floating-point map, as a fraction of its maximum."""
SHAPE_TOLERANCE = 0.02
"""Relative difference that a map's shape may have from its image's; one pixel is always allowed."""
GREY_TOLERANCE = 3
"""Levels of 255 by which the channels of a grey map may differ, as in a JPEG file."""
MISSING_CHOICES = ("error", "skip")
SKIP_ADVICE = "; to leave such images out, set network.missing=skip"


class StoredMaps(Baseline):
    """Predictions read from a folder of maps or from an HDF5 file, by image name.

    - A folder: `NAME.png`, `.jpg`, `.jpeg` (grey, 8 or 16 bit, 0 and more) or `NAME.npy`
      (floating-point, 0 and more), with or without the image's own suffix in NAME. A map is
      proportional to a density; half a level of 255 (images) or 1e-7 of the maximum (`.npy`) is
      added, which changes no NSS, AUC or CC and makes KL finite.
    - A file `.hdf5` or `.h5`: log densities by image name, as the Tuebingen server takes them and
      `export=tuebingen` writes them.

    A map of another size is resized bilinearly to the image's and normalised again.

    Args:
        path: the folder or the file.
        missing: `error`: every image needs a map; `skip`: a test leaves the images without one out
            and counts them.

    Raises:
        FileNotFoundError: there is nothing at `path`, or no map for an image.
        ValueError: a map is unreadable, coloured, has NaN, infinite or negative values, is zero
            everywhere, or has not the image's shape; the message names the file.
    """

    def __init__(self, path: str | Path, missing: str = "error") -> None:
        super().__init__()
        if missing not in MISSING_CHOICES:
            raise ValueError(
                f"network.missing={missing}: the choices are {' and '.join(MISSING_CHOICES)}"
            )
        self.path = Path(path)
        self.missing = missing
        if not self.path.exists():
            raise FileNotFoundError(
                f"no maps here: {self.path} does not exist; set network.path to a folder of maps "
                "or an HDF5 file of log densities"
            )

    @override
    def predict(self, image: ImageBatch, size: tuple[int, int], name: Sequence[str]) -> MapBatch:
        if len(name) != len(image):
            raise ValueError("StoredMaps needs the name of each image: call it with name=[…]")
        read = self._hdf5_log_density if self.path.is_file() else self._folder_map
        return torch.cat([read(n, size) for n in name]).to(image.device)

    @override
    def skips(self, name: str) -> bool:
        if self.missing == "error":
            return False
        if self.path.is_file():
            with self._open_hdf5() as file:
                return name not in file
        return not any(file.is_file() for file in self._candidates(name))

    def _candidates(self, name: str) -> list[Path]:
        """Return the files that may hold an image's map, in a folder of maps."""
        stems = dict.fromkeys([name, str(Path(name).with_suffix(""))])
        named = [
            self.path / f"{s}{suffix}" for s in stems for suffix in ("", *IMAGE_SUFFIXES, ".npy")
        ]
        return [f for f in dict.fromkeys(named) if f.suffix in (*IMAGE_SUFFIXES, ".npy")]

    def _folder_map(self, name: str, size: tuple[int, int]) -> MapBatch:
        files = self._candidates(name)
        present = [f for f in files if f.is_file()]
        if not present:
            raise FileNotFoundError(
                f"{self.path} has no map for {name}: none of {', '.join(f.name for f in files)}"
                f"{SKIP_ADVICE}"
            )
        if len(present) > 1:
            raise ValueError(f"{name} has two maps, {present[0]} and {present[1]}; remove one")
        file = present[0]
        saliency = _check_map(_read_map(file), file, size)
        if saliency.min() < 0:
            raise ValueError(f"{file} has negative values, down to {saliency.min():g}")
        if not saliency.any():
            raise ValueError(f"{file} is zero everywhere")
        floor = FLOAT_FLOOR if file.suffix == ".npy" else EIGHT_BIT_FLOOR
        return to_log_density(saliency, size, floor)

    @contextmanager
    def _open_hdf5(self) -> Iterator[h5py.File]:
        try:
            with h5py.File(self.path) as file:
                yield file
        except OSError as error:
            raise ValueError(f"{self.path} is no HDF5 file: {error}") from error

    def _hdf5_log_density(self, name: str, size: tuple[int, int]) -> MapBatch:
        with self._open_hdf5() as file:
            values = np.asarray(file[name], dtype=np.float32) if name in file else None
        if values is None:
            raise FileNotFoundError(f"{self.path} has no map for {name}{SKIP_ADVICE}")
        x = _check_map(torch.from_numpy(values), f"{self.path}, {name}", size)
        if x.shape[-2:] != size:
            x = interpolate(x[:, None], size, mode="bilinear")[:, 0]
        return x.flatten(1).log_softmax(1).view_as(x)


def _read_map(file: Path) -> Tensor:
    try:
        if file.suffix == ".npy":
            return torch.from_numpy(np.load(file, allow_pickle=False).astype(np.float32))
        with Image.open(file) as image:
            plain = image.mode in ("1", "L", "F", "RGB") or image.mode.startswith("I")
            values = np.asarray(image if plain else image.convert("RGB"))
    except (UnidentifiedImageError, OSError, ValueError, EOFError) as error:
        raise ValueError(f"{file} is not a readable map: {error}") from error
    if values.ndim == 3:
        levels = values.astype(np.float32)
        if np.ptp(levels, axis=2).max() > GREY_TOLERANCE:
            raise ValueError(
                f"{file} is coloured; a saliency map has one grey value per pixel. Store the "
                "values themselves, not a coloured drawing of them; a picture that only looks "
                "grey becomes so by PIL.Image.open(FILE).convert('L').save(FILE)"
            )
        values = levels.mean(2)
    return torch.from_numpy(values.astype(np.float32))


def _check_map(values: Tensor, where: Path | str, size: tuple[int, int]) -> MapBatch:
    """Return the map as `(1, h, w)`, or raise ValueError if it fits no image of that size."""
    if values.ndim != 2 or not values.numel():
        raise ValueError(f"{where} has the shape {tuple(values.shape)}; a map is (height, width)")
    if not values.isfinite().all():
        raise ValueError(f"{where} has a value that is NaN or infinite")
    height, width = values.shape
    fits = abs(height / size[0] * size[1] - width) <= max(1.0, SHAPE_TOLERANCE * width)
    if not fits:
        raise ValueError(
            f"{where} is {width}x{height}, its image {size[1]}x{size[0]}: the shapes differ"
        )
    return values[None]
