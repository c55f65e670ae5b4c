"""Lightning data module for every saliency data set."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerFn, TrainerStatus
from typing_extensions import override

from deepsal.data.augment import RandomAugmentation
from deepsal.data.batch import Batch
from deepsal.data.cache import DatasetCache
from deepsal.data.control_targets import CONTROLLED_SPLITS, control_dataset
from deepsal.data.dataset import SaliencyDataset
from deepsal.data.device_cache import DeviceImages, choose_device_cache, free_memory
from deepsal.data.resumable_loader import DeviceLoader, EpochSampler, default_worker_count, run_seed
from deepsal.data.saliency_images import SaliencyImages
from deepsal.vocabulary import FITS

FIT_SPLITS = ("train", "val")
"""The splits that a fit reads in every epoch."""


class SaliencyDataModule(pl.LightningDataModule):
    """Batches of images with fixations: train (augmented), val, and test at its own resolution.

    Args:
        dataset: the data set, such as `osie(data_dir)`.
        size: (h, w) of the network's images.
        batch_size: images per training batch; test images come one by one, because each is scored
            at its own size.
        flip: probability of a left-right flip in training.
        num_workers: number of loader processes, which live for all epochs; 0 decodes in the main
            process. None for 0 on a CPU, and for a GPU its share of the cores less one, at most 8.
            The number changes no result.
        crop: the smallest side of a training crop, as a fraction of the image's; 1 for no crops.
        keep: the smallest fraction of an image's fixations that a crop must hold.
        colour: largest relative change of brightness, contrast and saturation in training, up to 1.
        cache_dir: a folder for decoded images, best on a disk of this machine, which later runs
            use; None stores them in memory. Samples are bit for bit the same.
        cache_gib: largest size of the folder in GiB; the files not used for the longest time are
            removed first.
        test: the data set whose test split is scored; None for `dataset`.
        val_batch_size: images per validation batch; None for twice `batch_size`, which without
            gradients takes no more memory than a training step.
        device_cache: store the decoded training and validation images on the device. True requires
            it and False forbids it. None does so on a GPU if flips are the only augmentation and
            half of its free memory is enough. Samples are bit for bit the same.
        fit: of an image whose shape is not that of `size`. `squeeze` changes its shape. `pad`
            scales it to fit inside; loss and scores ignore the padding. `crop_long` pads
            validation and test images, whose map must cover the whole image; a training image
            covers `size` and is cut along its longer side, at random, so that at least `keep` of
            its fixations stay.
        control: other targets for the training and validation images, for a control training:
            `shuffled_fixations` or `other_task`, see `control_dataset`. Test images keep their
            fixations.

    Raises:
        ValueError: an option out of range; the message names it.

    Attributes:
        batches_to_skip: batches of the first epoch that an interrupted run has used; the next
            training loader leaves them out.
    """

    def __init__(
        self,
        dataset: SaliencyDataset,
        size: Sequence[int] = (192, 256),
        batch_size: int = 16,
        flip: float = 0.5,
        num_workers: int | None = None,
        crop: float = 1.0,
        keep: float = 0.5,
        colour: float = 0.0,
        cache_dir: str | Path | None = None,
        cache_gib: float = 20.0,
        test: SaliencyDataset | None = None,
        val_batch_size: int | None = None,
        device_cache: bool | None = None,
        control: str | None = None,
        fit: str = "squeeze",
    ) -> None:
        super().__init__()
        check_options(size, batch_size, val_batch_size, num_workers, fit)
        self.dataset = dataset
        self.batch_size = batch_size
        self.val_batch_size = val_batch_size or 2 * batch_size
        self.num_workers = num_workers
        self.device_cache = device_cache
        self.uses_device_cache: bool | None = None
        self.device_images: dict[str, DeviceImages] = {}
        self.batches_to_skip = 0
        height, width = size
        cache = DatasetCache(cache_dir, cache_gib)
        sources = dict.fromkeys(dataset.splits, dataset) | {"test": test or dataset}
        if control is not None:
            sources |= dict.fromkeys(CONTROLLED_SPLITS, control_dataset(dataset, control))
        self.images = {
            split: SaliencyImages(
                source,
                source.splits[split],
                (height, width),
                augment=RandomAugmentation(flip, crop, keep, colour) if split == "train" else None,
                own_resolution=split == "test",
                cache=cache,
                fit=fit if fit != "crop_long" else "cover" if split == "train" else "pad",
            )
            for split, source in sources.items()
        }
        self.cache = cache

    def train_dataloader(self) -> DeviceLoader:
        """Return shuffled batches; the last, smaller one is dropped unless it is the only one.

        Raises:
            ValueError: the data set has no training images.
        """
        if not len(self.images["train"]):
            raise ValueError(explain_missing_images(self.images["train"].dataset, "train", "fit"))
        images, weights = self.images["train"], None
        if self.dataset.sampling_weights:
            weights = [self.dataset.sampling_weights[i] for i in images.positions]
        skip, self.batches_to_skip = self.batches_to_skip * self.batch_size, 0
        sampler = EpochSampler(len(images), run_seed(), weights, skip)
        drop_last = len(sampler) >= self.batch_size
        return self._loader("train", self.batch_size, sampler=sampler, drop_last=drop_last)

    def val_dataloader(self) -> DeviceLoader:
        """Return batches in order, with truth at the network's size."""
        return self._loader("val", self.val_batch_size)

    def field_images(self, split: str) -> SaliencyImages:
        """Return the images of a split for the fields of units: without padding.

        They are those of the split, but where those are padded, they cover the network's image and
        are cut along their longer side.
        """
        images = self.images[split]
        if images.fit != "pad":
            return images
        return SaliencyImages(
            images.dataset,
            images.positions,
            images.size,
            images.augment,
            cache=self.cache,
            fit="cover",
        )

    def field_dataloader(self) -> DeviceLoader:
        """Return batches of the validation images for the fields of units, in order."""
        images = self.field_images("val")
        unpadded = images if images is not self.images["val"] else None
        return self._loader("val", self.val_batch_size, unpadded)

    def test_dataloader(self) -> DeviceLoader:
        """Return batches of one image, with truth at the stored image's size."""
        return self._loader("test", 1)

    @override
    def transfer_batch_to_device(
        self, batch: Batch, device: torch.device, dataloader_idx: int
    ) -> Batch:
        return batch.to_device(device)

    @override
    def setup(self, stage: str) -> None:
        """Forget the choice of a device cache, because a new trainer may use another device."""
        self.teardown(stage)

    @override
    def teardown(self, stage: str) -> None:
        """Free the memory of the device."""
        for images in self.device_images.values():
            images.release()
        self.device_images, self.uses_device_cache = {}, None

    def _loader(
        self,
        split: str,
        batch_size: int,
        images: SaliencyImages | DeviceImages | None = None,
        **options: Any,
    ) -> DeviceLoader:
        """Return a loader of a split's images, or of others that stand for them."""
        device, ranks = torch.device("cpu"), 1
        if self.trainer and self.trainer.state.status == TrainerStatus.RUNNING:
            device, ranks = self.trainer.strategy.root_device, self.trainer.num_devices
        workers = self.num_workers
        if workers is None:
            height, width = self.images[split].size
            batch_bytes = batch_size * height * width * (3 + 4 + 4)  # image, counts, density
            workers = default_worker_count(device, ranks, batch_bytes)
        images = images or self._images(split, device, workers)
        on_host = isinstance(images, SaliencyImages)
        return DeviceLoader(
            images,
            batch_size,
            device=device,
            num_workers=workers if on_host else 0,
            persistent_workers=on_host and workers > 0 and split != "test",
            pin_memory=on_host and device.type == "cuda",
            **options,
        )

    def _images(
        self, split: str, device: torch.device, workers: int
    ) -> SaliencyImages | DeviceImages:
        """Return the images of a split, on the device if the option and the memory allow it."""
        fitting = not self.trainer or self.trainer.state.fn == TrainerFn.FITTING
        if split not in FIT_SPLITS or not fitting:
            return self.images[split]
        if self.uses_device_cache is None:
            fitted = {part: self.images[part] for part in FIT_SPLITS}
            free = free_memory(device)
            self.uses_device_cache = choose_device_cache(self.device_cache, fitted, device, free)
        if self.uses_device_cache and split not in self.device_images:
            self.device_images[split] = DeviceImages(self.images[split], device, workers)
        return self.device_images.get(split, self.images[split])


def explain_missing_images(dataset: SaliencyDataset, split: str, step: str) -> str:
    """Return the error of a step that needs images of a split, for a data set without them.

    Args:
        dataset: without images of the split.
        split: train, val or test.
        step: of `do`.
    """
    kind = {"train": "training", "val": "validation"}.get(split, split)
    cure = "set another data set"
    if not dataset.splits["val"] and not dataset.fixations_hidden:
        cure = (
            "data.dataset.split=all or val, or its splits.csv, leaves it none; "
            "set data.dataset.split=null or another data set"
        )
    return (
        f"{dataset.name} has no {kind} images, which do=[{step}] needs; {cure}, as "
        "data=osie data@tested=NAME, or ckpt=FILE do=[test] or do=[export]"
    )


def check_options(
    size: Any,
    batch_size: int,
    val_batch_size: int | None,
    num_workers: int | None,
    fit: str = "squeeze",
) -> None:
    """Check the options that would otherwise fail in the first epoch, or change it in silence.

    Raises:
        ValueError: one is out of range, or `size` is no pair; the message names the option.
    """
    pair = isinstance(size, list | tuple) and len(size) == 2
    if not pair or not all(isinstance(side, int) and side > 0 for side in size):
        raise ValueError(f"data.size={size}: set [HEIGHT,WIDTH], two positive numbers of pixels")
    if fit not in FITS:
        raise ValueError(f"data.fit={fit}: the choices are {list(FITS)}")
    counts = {"batch_size": (batch_size, 1), "val_batch_size": (val_batch_size, 1)}
    for option, (value, least) in {**counts, "num_workers": (num_workers, 0)}.items():
        if value is not None and value < least:
            raise ValueError(f"data.{option}={value}: the least is {least}")
