"""One LightningDataModule for every saliency data set."""

from collections.abc import Sequence

import pytorch_lightning as pl
import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from deepsal.data.maps import blur, rasterise
from deepsal.data.sample import Batch, SaliencyDataset, Sample, collate


class SaliencyImages(Dataset[Sample]):
    """The images of one split at the network's size.

    An image is decoded and resized once, then kept (uint8, shared by the workers).

    Args:
        dataset: where the stimuli come from.
        positions: which of them.
        size: (h, w) of the image given to the network.
        augment: a torchvision v2 transform of the image and its points; None for none.
        own_resolution: rasterise the truth at the stored image's size instead of at `size`.

    Attributes:
        degree: pixels of the network's image per degree of visual angle, where known; from the
            first image, across.
    """

    def __init__(
        self,
        dataset: SaliencyDataset,
        positions: Sequence[int],
        size: tuple[int, int],
        augment: v2.Transform | None = None,
        own_resolution: bool = False,
    ) -> None:
        self.dataset = dataset
        self.stimuli = [dataset.stimuli[i] for i in positions]
        self.size = size
        self.augment = augment
        self.own_resolution = own_resolution
        of_width = size[1] / self.stimuli[0].size[1] if self.stimuli else 1.0
        self.degree = dataset.degree * of_width if dataset.degree else None
        self.images = torch.empty(len(self.stimuli), 3, *size, dtype=torch.uint8).share_memory_()
        self.decoded = torch.zeros(len(self.stimuli), dtype=torch.bool).share_memory_()

    def __len__(self) -> int:
        return len(self.stimuli)

    def __getitem__(self, index: int) -> Sample:
        stimulus = self.stimuli[index]
        image: Tensor = tv_tensors.Image(self._image(index))
        points: Tensor = tv_tensors.KeyPoints(
            torch.from_numpy(stimulus.fixations),
            canvas_size=stimulus.size,
        )
        if self.augment:
            image, points = self.augment(image, points)
        image, points = image.as_subclass(Tensor), points.as_subclass(Tensor)
        grid = stimulus.size if self.own_resolution else self.size
        counts = rasterise(points, stimulus.size, grid)
        sigma = [self.dataset.sigma * g / s for g, s in zip(grid, stimulus.size, strict=True)]
        density = blur(counts, (sigma[0], sigma[1]))
        return Sample(image / 255, counts, density, points, stimulus.name, stimulus.size)

    def _image(self, index: int) -> UInt8[Tensor, "3 h w"]:
        if not self.decoded[index]:
            stimulus = self.stimuli[index]
            image = stimulus.read()
            if tuple(image.shape[1:]) != stimulus.size:
                raise ValueError(
                    f"{stimulus.name} has (height, width) {tuple(image.shape[1:])}, "
                    f"but its data set says {stimulus.size}"
                )
            self.images[index] = v2.functional.resize(image, list(self.size), antialias=True)
            self.decoded[index] = True
        cached: Tensor = self.images[index]
        return cached


class SaliencyDataModule(pl.LightningDataModule):
    """Batches of images with fixations: train (augmented), val, and test at its own resolution.

    Args:
        dataset: what a loader such as `osie(data_dir)` returns.
        size: (h, w) every image is resized to for the network.
        batch_size: images per training or validation batch; test images come one by one, because
            each is scored at its own size.
        flip: probability of a left-right flip in training.
        num_workers: loader processes; 0 decodes in the main process.
    """

    def __init__(
        self,
        dataset: SaliencyDataset,
        size: Sequence[int] = (192, 256),
        batch_size: int = 16,
        flip: float = 0.5,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        self.dataset = dataset
        self.batch_size = batch_size
        self.num_workers = num_workers
        height, width = size
        flips = v2.RandomHorizontalFlip(flip) if flip else None
        self.images = {
            split: SaliencyImages(
                dataset,
                positions,
                (height, width),
                augment=flips if split == "train" else None,
                own_resolution=split == "test",
            )
            for split, positions in dataset.splits.items()
        }

    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled batches; the last, smaller one is dropped unless it is the only one."""
        whole = len(self.images["train"]) >= self.batch_size
        return self._loader("train", self.batch_size, shuffle=True, drop_last=whole)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Batches in order, truth at the network's size."""
        return self._loader("val", self.batch_size)

    def test_dataloader(self) -> DataLoader[Batch]:
        """One image at a time, truth at the stored image's size."""
        return self._loader("test", 1)

    def _loader(
        self, split: str, batch_size: int, shuffle: bool = False, drop_last: bool = False
    ) -> DataLoader[Batch]:
        return DataLoader(
            self.images[split],  # type: ignore[arg-type]  # collate turns samples into a Batch
            batch_size=batch_size,
            shuffle=shuffle,
            drop_last=drop_last,
            collate_fn=collate,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
        )
