"""Data sets and comparisons of batches for the tests of data."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

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


def equal_batches(first: Batch, second: Batch) -> bool:
    same = first.name == second.name and first.size == second.size
    same = same and all(map(torch.equal, first.points, second.points))
    return same and all(map(torch.equal, first[:3], second[:3]))


def epoch_batches(data: SaliencyDataModule, count: int = 3) -> list[Batch]:
    loader = data.train_dataloader()
    return [batch for _ in range(count) for batch in loader]


def all_equal_batches(first: Sequence[Batch], second: Sequence[Batch]) -> bool:
    return len(first) == len(second) and all(map(equal_batches, first, second))
