"""Data sets and comparisons of batches for the tests of data."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from deepsal.data import Batch, SaliencyDataModule, SaliencyDataset, Stimulus
from deepsal.data.image_files import read_image

SIZE = (30, 44)


def jpeg_dataset(folder: Path, count: int = 6) -> SaliencyDataset:
    """Images in JPEG files, written into the folder unless they exist."""
    folder.mkdir(exist_ok=True)
    generator = np.random.default_rng(0)
    stimuli = []
    for i in range(count):
        file = folder / f"{i}.jpg"
        if not file.exists():
            Image.fromarray(generator.integers(0, 256, (30, 44, 3), dtype=np.uint8)).save(file)
        points = generator.uniform(0, 29, (5, 2))
        reader = partial(read_image, file)
        stimuli.append(Stimulus(file.name, (30, 44), points, np.zeros(5, dtype=np.int64), reader))
    splits = {"train": range(count - 2), "val": [count - 2], "test": [count - 1]}
    return SaliencyDataset("files", stimuli, splits, 2.0)


def planted_image(x: int, y: int) -> Tensor:
    image = torch.zeros(3, *SIZE, dtype=torch.uint8)
    image[:, y, x] = 255
    return image


def planted_dataset(points: Sequence[tuple[int, int]]) -> SaliencyDataset:
    """One image per point and split, black but for the pixel that is fixated."""
    stimuli = [
        Stimulus(
            f"{split}-{x}-{y}",
            SIZE,
            np.array([[x, y]], dtype=np.float64),
            np.zeros(1, dtype=np.int64),
            partial(planted_image, x, y),
        )
        for split in ("train", "val", "test")
        for x, y in points
    ]
    n = len(points)
    splits = {"train": range(n), "val": range(n, 2 * n), "test": range(2 * n, 3 * n)}
    return SaliencyDataset("planted", stimuli, splits, sigma=2.0)


SHAPES = {"landscape": (48, 72), "portrait": (72, 40), "square": (56, 56), "own": (32, 48)}
"""(height, width) of images by name; the last has the proportions of `FRAME`."""
FRAME = (32, 48)


def blob_image(size: tuple[int, int], x: int, y: int) -> Tensor:
    """A bright, smooth blob at a point of a grey image."""
    down, across = (torch.arange(n) - at for n, at in zip(size, (y, x), strict=True))
    blob = torch.exp(-(down[:, None].square() + across.square()) / (2 * 4.0**2))
    return (80 + 170 * blob).round().byte().repeat(3, 1, 1)


def shapes_dataset(sigma: float = 4.0) -> SaliencyDataset:
    """One image of each of `SHAPES` per split, fixated around a blob in its lower left part."""
    stimuli = []
    for split in ("train", "val", "test"):
        for name, size in SHAPES.items():
            x, y = size[1] // 3, 2 * size[0] // 3
            around = np.random.default_rng(0).normal((x, y), 3.0, (8, 2))
            points = np.clip(around, 0, np.array(size[::-1]) - 1.0)
            reader = partial(blob_image, size, x, y)
            observers = np.arange(8, dtype=np.int64) % 2
            stimuli.append(Stimulus(f"{split}-{name}", size, points, observers, reader))
    count = len(SHAPES)
    splits = {s: range(i * count, (i + 1) * count) for i, s in enumerate(("train", "val", "test"))}
    return SaliencyDataset("shapes", stimuli, splits, sigma)


def shapes_datamodule(
    fit: str, frame: tuple[int, int] = FRAME, **options: Any
) -> SaliencyDataModule:
    """A data module of `shapes_dataset`, all images of a split in one batch."""
    return SaliencyDataModule(shapes_dataset(), frame, len(SHAPES), fit=fit, **options)


def equal_batches(first: Batch, second: Batch) -> bool:
    same = first.name == second.name and first.size == second.size
    same = same and first.regions == second.regions
    same = same and all(map(torch.equal, first.points, second.points))
    return same and all(map(torch.equal, first[:3], second[:3]))


def epoch_batches(data: SaliencyDataModule, count: int = 3) -> list[Batch]:
    loader = data.train_dataloader()
    return [batch for _ in range(count) for batch in loader]


def all_equal_batches(first: Sequence[Batch], second: Sequence[Batch]) -> bool:
    return len(first) == len(second) and all(map(equal_batches, first, second))
