"""One LightningDataModule for every saliency data set."""

import math
from collections.abc import Sequence
from pathlib import Path

import pytorch_lightning as pl
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.utils.data import Dataset, Sampler, WeightedRandomSampler
from torchvision.transforms import v2

from deepsal.data.augment import Augment, View
from deepsal.data.cache import Cache
from deepsal.data.loader import Loader, Taken
from deepsal.data.maps import blur, rasterise
from deepsal.data.sample import Batch, SaliencyDataset, Sample, collate


class SaliencyImages(Dataset[Sample]):
    """The images of one split at the network's size.

    An image is decoded and resized once, then kept (uint8, shared by the workers and, in a file,
    by other runs).

    Args:
        dataset: where the stimuli come from.
        positions: which of them.
        size: (h, w) of the image given to the network.
        augment: what is done to training images and their points; None for nothing.
        own_resolution: rasterise the truth at the stored image's size instead of at `size`.
        cache: where decoded images are kept; None for memory.

    Attributes:
        degree: pixels of the network's image per degree of visual angle, where known; from the
            first image, across.
    """

    def __init__(
        self,
        dataset: SaliencyDataset,
        positions: Sequence[int],
        size: tuple[int, int],
        augment: Augment | None = None,
        own_resolution: bool = False,
        cache: Cache | None = None,
    ) -> None:
        self.dataset = dataset
        self.positions = list(positions)
        self.stimuli = [dataset.stimuli[i] for i in positions]
        self.size = size
        self.augment = augment
        self.own_resolution = own_resolution
        of_width = size[1] / self.stimuli[0].size[1] if self.stimuli else 1.0
        self.degree = dataset.degree * of_width if dataset.degree else None
        cache = cache or Cache()
        crop = augment.crop if augment else 1.0  # kept larger, so that no crop is magnified
        self.kept_size = (math.ceil(size[0] / crop), math.ceil(size[1] / crop))
        self.images = cache.images(dataset, self.kept_size)
        self.densities = None
        if crop == 1 and not own_resolution:
            self.densities = cache.densities(dataset, size)

    def __len__(self) -> int:
        return len(self.stimuli)

    def __getitem__(self, index: int) -> Sample:
        sample = self._sample(index)
        return sample._replace(image=sample.image / 255)

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """Return a batch; images and counts are made in their place, which saves copying them."""
        image = torch.empty(len(indices), 3, *self.size)
        counts = None if self.own_resolution else torch.zeros(len(indices), *self.size)
        samples = []
        for i, index in enumerate(indices):
            samples.append(self._sample(index, None if counts is None else counts[i]))
            torch.div(samples[i].image, 255, out=image[i])
        return collate(samples, image, counts)

    def _sample(self, index: int, counts: Float[Tensor, "H W"] | None = None) -> Sample:
        """Return a sample whose image is still bytes; `counts` are zeros to count into."""
        stimulus = self.stimuli[index]
        points = torch.from_numpy(stimulus.fixations)
        view = View(self._image(index), points, stimulus.size)
        if self.augment:
            view = self.augment(view)
        image = view.image
        if tuple(image.shape[1:]) != self.size:
            image = v2.functional.resize(image, list(self.size), antialias=True)
        grid = view.size if self.own_resolution else self.size
        counts = rasterise(view.points, view.size, grid, counts)
        density = self._density(index, view, counts)
        return Sample(image, counts, density, view.points, stimulus.name, view.size)

    def _image(self, index: int) -> UInt8[Tensor, "3 h w"]:
        position = self.positions[index]
        if (kept := self.images.get(position)) is not None:
            return kept
        stimulus = self.stimuli[index]
        image = stimulus.read()
        if tuple(image.shape[1:]) != stimulus.size:
            raise ValueError(
                f"{stimulus.name} has (height, width) {tuple(image.shape[1:])}, "
                f"but its data set says {stimulus.size}"
            )
        made: Tensor = v2.functional.resize(image, list(self.kept_size), antialias=True)
        self.images.put(position, made)
        return made

    def _density(
        self, index: int, view: View, counts: Float[Tensor, "H W"]
    ) -> Float[Tensor, "H W"]:
        if self.dataset.hidden and not len(view.points):
            return counts
        place = 2 * self.positions[index] + view.mirrored
        kept = self.densities.get(place) if self.densities else None
        if kept is not None:
            return kept
        stimulus = self.stimuli[index]
        of_stored = stimulus.sigma or self.dataset.sigma
        sigma = [
            of_stored * scale * g / v
            for g, v, scale in zip(counts.shape, view.size, view.scale, strict=True)
        ]
        density = blur(counts, (sigma[0], sigma[1]))
        if self.densities:
            self.densities.put(place, density)
        return density


class SaliencyDataModule(pl.LightningDataModule):
    """Batches of images with fixations: train (augmented), val, and test at its own resolution.

    Args:
        dataset: what a loader such as `osie(data_dir)` returns.
        size: (h, w) every image is resized to for the network.
        batch_size: images per training or validation batch; test images come one by one, because
            each is scored at its own size.
        flip: probability of a left-right flip in training.
        num_workers: loader processes; 0 decodes in the main process. They start anew each epoch and
            are seeded from the main process, so that a continued run augments as one never cut.
        crop: the smallest side of a training crop, as a part of the image's; 1 for no crops.
        keep: the smallest part of an image's fixations that a crop must hold.
        colour: how far brightness, contrast and saturation are changed in training, up to 1.
        cache_dir: a folder, best on a disk of this machine, in which decoded images stay for later
            runs; None keeps them in memory. Samples are bit for bit the same.
        cache_gib: how much may stay there; what was not used for longest is removed first.
        test: the data set whose test split is scored, where it is another than `dataset`.

    Attributes:
        taken: where the epoch was cut that the next training loader goes on with; None for none.
    """

    def __init__(
        self,
        dataset: SaliencyDataset,
        size: Sequence[int] = (192, 256),
        batch_size: int = 16,
        flip: float = 0.5,
        num_workers: int = 0,
        crop: float = 1.0,
        keep: float = 0.5,
        colour: float = 0.0,
        cache_dir: str | Path | None = None,
        cache_gib: float = 20.0,
        test: SaliencyDataset | None = None,
    ) -> None:
        super().__init__()
        self.dataset = dataset
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.taken: Taken | None = None
        height, width = size
        cache = Cache(cache_dir, cache_gib)
        self.images = {
            split: SaliencyImages(
                of,
                of.splits[split],
                (height, width),
                augment=Augment(flip, crop, keep, colour) if split == "train" else None,
                own_resolution=split == "test",
                cache=cache,
            )
            for split, of in {
                **dict.fromkeys(dataset.splits, dataset),
                "test": test or dataset,
            }.items()
        }

    def train_dataloader(self) -> Loader:
        """Shuffled batches; the last, smaller one is dropped unless it is the only one.

        Raises:
            ValueError: the data set has no training images.
        """
        if not len(self.images["train"]):
            raise ValueError(
                f"{self.dataset.name} has no training images; train on another set, as "
                "data=osie data@tested=NAME do=[fit,export], or give ckpt=FILE do=[export]"
            )
        whole = len(self.images["train"]) >= self.batch_size
        images, sampler = self.images["train"], None
        if self.dataset.chances:
            chances = [self.dataset.chances[i] for i in images.positions]
            sampler = WeightedRandomSampler(chances, len(images))
        taken, self.taken = self.taken, None
        return self._loader("train", self.batch_size, sampler is None, whole, sampler, taken)

    def val_dataloader(self) -> Loader:
        """Batches in order, truth at the network's size."""
        return self._loader("val", self.batch_size)

    def test_dataloader(self) -> Loader:
        """One image at a time, truth at the stored image's size."""
        return self._loader("test", 1)

    def _loader(
        self,
        split: str,
        batch_size: int,
        shuffle: bool = False,
        drop_last: bool = False,
        sampler: Sampler[int] | None = None,
        taken: Taken | None = None,
    ) -> Loader:
        return Loader(
            self.images[split],
            batch_size=batch_size,
            shuffle=shuffle,
            sampler=sampler,
            drop_last=drop_last,
            collate_fn=_as_it_is,
            num_workers=self.num_workers,
            pin_memory=torch.cuda.is_available(),
            taken=taken,
        )


def _as_it_is(batch: Batch) -> Batch:
    return batch
