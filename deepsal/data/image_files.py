"""Size and pixels of image files."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError
from torch import Tensor

UNREADABLE_IMAGE_ERRORS = (UnidentifiedImageError, OSError, Image.DecompressionBombError)


def image_size(path: Path) -> tuple[int, int]:
    """Return (height, width) from the file's header; raises as `read_image` does."""
    with _open_image(path) as image:
        return image.height, image.width


def read_image(path: Path) -> UInt8[Tensor, "3 H W"]:
    """Return the image as uint8 RGB.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is truncated, no image or huge (above 179 million pixels); the message
            names it.
    """
    with _open_image(path) as image:
        return torch.from_numpy(np.array(_to_rgb(image))).permute(2, 0, 1).contiguous()


@contextmanager
def _open_image(path: Path) -> Iterator[Image.Image]:
    """Open an image; an error inside the block, where the pixels are decoded, names the file."""
    try:
        with Image.open(path) as image:
            yield image
    except FileNotFoundError:
        raise
    except UNREADABLE_IMAGE_ERRORS as error:
        raise ValueError(f"{path} is not a readable image: {error}") from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow would clip
        image = Image.fromarray((np.asarray(image) / 257).round().astype(np.uint8))
    if "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")
