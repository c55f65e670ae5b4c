"""Size and pixels of image files."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, PngImagePlugin
from torch import Tensor

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
        return torch.from_numpy(np.array(_to_rgb(image))).permute(2, 0, 1).contiguous()


@contextmanager
def _open_image(path: Path) -> Iterator[Image.Image]:
    """Open an image; an error inside the block, where the pixels are decoded, names the file."""
    try:
        with Image.open(path) as image:
            yield image
    except FileNotFoundError:
        raise
    except Exception as error:  # Pillow raises many types for a damaged file
        raise ValueError(f"{path} is not a readable image: {error}") from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F" or (image.mode == "I" and image.format != "PNG"):
        kind = "floating-point" if image.mode == "F" else "32-bit"
        raise ValueError(f"its pixels are {kind} numbers; save it with 8 or 16 bits per channel")
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow would clip
        image = Image.fromarray((np.asarray(image) / 257).round().astype(np.uint8))
    if "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")
