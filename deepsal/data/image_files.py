"""Size and pixels of image files."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import ExifTags, Image, ImageOps, PngImagePlugin
from torch import Tensor

HEIF_SUFFIXES = (".heic", ".heif")
"""File names of phone photographs, which Pillow reads with the package pillow-heif."""
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY  # Pillow refuses 1 MiB of metadata


def image_size(path: Path) -> tuple[int, int]:
    """Return (height, width) from the file's header; raises as `read_image` does."""
    with _open_image(path) as image:
        return image.height, image.width


def read_image(path: Path) -> UInt8[Tensor, "3 H W"]:
    """Return the image as uint8 RGB.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is truncated, no image, huge (above 179 million pixels), or its pixels
            are floating-point or 32-bit numbers, whose white is not known; the message names it.
    """
    with _open_image(path) as image:
        return _to_tensor(image)


class UprightImage(NamedTuple):
    """Image as a person sees it.

    pixels: uint8 RGB, (3, H, W) · orientation: of the stored image, the EXIF number from 1
    (upright) to 8.
    """

    pixels: UInt8[Tensor, "3 H W"]
    orientation: int


def read_upright_image(path: Path) -> UprightImage:
    """Return the image, turned as its EXIF orientation states; raises as `read_image` does."""
    with _open_image(path) as image:
        return turn_upright(image)


def turn_upright(image: Image.Image) -> UprightImage:
    """Return an open image, turned as its EXIF orientation states; the image itself is turned.

    Raises:
        ValueError: its pixels are floating-point or 32-bit numbers.
    """
    orientation = int(image.getexif().get(ExifTags.Base.Orientation, 1))
    ImageOps.exif_transpose(image, in_place=True)
    return UprightImage(_to_tensor(image), orientation)


@contextmanager
def _open_image(path: Path) -> Iterator[Image.Image]:
    """Open an image; an error inside the block, where the pixels are decoded, names the file."""
    try:
        if path.suffix.lower() in HEIF_SUFFIXES:
            _register_heif()
        with Image.open(path) as image:
            yield image
    except FileNotFoundError:
        raise
    except Exception as error:  # Pillow raises many types for a damaged file
        raise ValueError(f"{path} is not a readable image: {error}") from error


def _register_heif() -> None:
    try:
        from pillow_heif import register_heif_opener
    except ImportError as error:
        raise ValueError("its format HEIF needs pip install pillow-heif") from error
    register_heif_opener()


def _to_tensor(image: Image.Image) -> UInt8[Tensor, "3 H W"]:
    return torch.from_numpy(np.array(_to_rgb(image))).permute(2, 0, 1).contiguous()


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F" or (image.mode == "I" and image.format != "PNG"):
        kind = "floating-point" if image.mode == "F" else "32-bit"
        raise ValueError(f"its pixels are {kind} numbers; save it with 8 or 16 bits per channel")
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow would clip
        image = Image.fromarray((np.asarray(image) / 257).round().astype(np.uint8))
    if "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")
