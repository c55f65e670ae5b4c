"""An epoch of samples from the cache against one that decodes every image, as is usual."""

import os
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from deepsal.data import SaliencyDataModule, SaliencyDataset, osie
from deepsal.data.batch import Sample, collate_samples
from deepsal.data.dataset import fixation_density, rasterise_fixations
from tests.bench.harness import Row, side_by_side
from tests.bench.training import written

SIZES = ((192, 256), (480, 640))
IMAGES = 160
BATCH = 16


def run(only: str) -> Iterator[Row]:
    """Yield a row per size; OSIE with DEEPSAL_DATA, else pop-out arrays written as JPEGs."""
    with tempfile.TemporaryDirectory() as folder:
        data_dir = os.environ.get("DEEPSAL_DATA")
        whole = osie(data_dir) if data_dir else written(Path(folder))
        positions = list(whole.splits["train"])[:IMAGES]
        splits: dict[str, list[int]] = {"train": [], "val": positions, "test": []}
        dataset = SaliencyDataset(whole.name, whole.stimuli, splits, whole.sigma)
        for size in SIZES:
            name = f"loading/{size[0]}x{size[1]}"
            if not name.startswith(only):
                continue
            ours = SaliencyDataModule(dataset, size, BATCH, cache_dir=Path(folder) / "cache")
            plain = DataLoader(_Decoded(dataset, size), BATCH, collate_fn=collate_samples)
            row = side_by_side(
                name,
                partial(_epoch, ours.val_dataloader()),
                partial(_epoch, plain),
                "decode, resize, rasterise and blur for every sample",
                repeats=9,
                images=IMAGES,
                dataset=dataset.name,
            )
            row["ours_images_per_s"] = IMAGES / row["ours_s"]
            row["reference_images_per_s"] = IMAGES / row["reference_s"]
            row["bit_equal"] = _equal(ours.val_dataloader(), plain)
            assert row["bit_equal"]
            yield row


class _Decoded(Dataset[Sample]):
    def __init__(self, dataset: SaliencyDataset, size: tuple[int, int]) -> None:
        self.stimuli = [dataset.stimuli[i] for i in dataset.splits["val"]]
        self.sigma = dataset.sigma
        self.size = size

    def __len__(self) -> int:
        return len(self.stimuli)

    def __getitem__(self, index: int) -> Sample:
        stimulus = self.stimuli[index]
        image = v2.functional.resize(stimulus.read(), list(self.size), antialias=True) / 255
        points = torch.from_numpy(stimulus.fixations)
        counts = rasterise_fixations(points, stimulus.size, self.size)
        down, across = (self.sigma * g / s for g, s in zip(self.size, stimulus.size, strict=True))
        density = fixation_density(counts, (down, across))
        return Sample(image, counts, density, points, stimulus.name, stimulus.size)


def _epoch(loader: DataLoader[Any]) -> int:
    return sum(len(batch.image) for batch in loader)


def _equal(first: DataLoader[Any], second: DataLoader[Any]) -> bool:
    return all(
        a.name == b.name and all(map(torch.equal, [*a[:3], *a.points], [*b[:3], *b.points]))
        for a, b in zip(first, second, strict=True)
    )
