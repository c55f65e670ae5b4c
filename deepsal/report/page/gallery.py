"""Gallery of a run's best, middle and worst predictions, as pictures for a page."""

import base64
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image

WEBP_QUALITY = 82
INFERNO_COLOURS = np.rint(255 * mpl.colormaps["inferno"](np.arange(256))[:, :3]).astype(np.uint8)


class GalleryImage(NamedTuple):
    """A test image with its maps.

    rank: best, middle or worst by NSS · image, truth, prediction: data URIs · fixations: (x, y) in
    percent of the image's width and height · size: width and height, pixels.
    """

    name: str
    rank: str
    nss: float
    image: str
    truth: str
    prediction: str
    fixations: list[tuple[float, float]]
    size: tuple[int, int]


def read_gallery(folder: Path) -> list[GalleryImage]:
    """Read a run's `gallery.npz`; [] without one."""
    file = folder / "gallery.npz"
    if not file.is_file():
        return []
    with np.load(file) as arrays:
        rows = json.loads(str(arrays["about"]))
        parts = [
            [_nth(arrays, key, number) for number in range(len(rows))]
            for key in ("image", "truth", "prediction")
        ]
    return [
        GalleryImage(
            row["name"],
            row["rank"],
            row["nss"],
            pixels_data_uri(image),
            pixels_data_uri(INFERNO_COLOURS[truth]),
            pixels_data_uri(INFERNO_COLOURS[prediction]),
            [(round(100 * x, 2), round(100 * y, 2)) for x, y in row["fixations"]],
            (image.shape[1], image.shape[0]),
        )
        for row, image, truth, prediction in zip(rows, *parts, strict=True)
    ]


def _nth(arrays: Mapping[str, NDArray[np.uint8]], key: str, number: int) -> NDArray[np.uint8]:
    """Return `key/number`, or from the one array of a file of version 0.2 and earlier."""
    name = f"{key}/{number}"
    return arrays[name] if name in arrays else arrays[key][number]


def pixels_data_uri(pixels: NDArray[np.uint8]) -> str:
    """Return pixels (h, w, 3) as the data URI of a WebP."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", quality=WEBP_QUALITY, method=4)
    return webp_data_uri(buffer.getvalue())


def webp_data_uri(picture: bytes) -> str:
    """Return a WebP file's bytes as a data URI.

    >>> webp_data_uri(b"abc")
    'data:image/webp;base64,YWJj'
    """
    return f"data:image/webp;base64,{base64.b64encode(picture).decode()}"
