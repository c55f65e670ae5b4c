"""Cache of decoded images and their truth on the training device: no worker, no copy per step."""

from collections.abc import Mapping, Sequence
from copy import copy

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from deepsal.data.augment import RandomAugmentation
from deepsal.data.batch import Batch, Sample, SeededIndex, collate_regions
from deepsal.data.resumable_loader import identity_collate
from deepsal.data.saliency_images import SaliencyImages

DECODE_BATCH_SIZE = 32
"""Number of images that are decoded together."""


class DeviceImages(Dataset[Sample]):
    """The images of a split on a device, with batches bit for bit those of `SaliencyImages`.

    Fixation counts and densities are stored for an image and for its flipped image, because a
    fixation on the border of two cells does not fall into the mirrored cell.

    Args:
        images: the images to store, without crops, colours or truth at another size.
        device: the device that stores them.
        num_workers: number of processes that decode.
    """

    def __init__(self, images: SaliencyImages, device: torch.device, num_workers: int = 0) -> None:
        self.images = images
        count, (height, width) = len(images), images.size
        views = _deterministic_views(images)
        self.image = torch.empty(count, 3, height, width, dtype=torch.uint8, device=device)
        self.fixations = torch.empty(len(views) * count, height, width, device=device)
        self.density = torch.empty_like(self.fixations)
        self.points: list[Tensor] = []
        for augment in views:
            for batch in _ordered_batches(images, augment, num_workers):
                rows = slice(len(self.points), len(self.points) + len(batch.name))
                if rows.stop <= count:  # the first view is not flipped
                    self.image[rows] = batch.image.to(device)
                self.fixations[rows] = batch.fixations.to(device)
                self.density[rows] = batch.density.to(device)
                self.points += [p.clone() for p in batch.points]  # shared memory has few files

    def __len__(self) -> int:
        return len(self.images)

    def __getitems__(self, draws: Sequence[int | SeededIndex]) -> Batch:
        """Return a batch on the device, its image still uint8.

        Args:
            draws: as for `SaliencyImages`.
        """
        index = [draw.position if isinstance(draw, SeededIndex) else draw for draw in draws]
        flipped = [self._draw_flip(draw) for draw in draws]
        truth = [i + len(self) * flip for i, flip in zip(index, flipped, strict=True)]
        rows = torch.tensor([index, truth, flipped])
        image_rows, truth_rows, flips = rows.to(self.image.device, non_blocking=True)
        image = self.image[image_rows]
        image = torch.where(flips.bool()[:, None, None, None], image.flip(-1), image)
        stimuli = [self.images.stimuli[i] for i in index]
        return Batch(
            image,
            self.fixations[truth_rows],
            self.density[truth_rows],
            [self.points[i] for i in truth],
            [stimulus.name for stimulus in stimuli],
            [stimulus.size for stimulus in stimuli],
            collate_regions([self.images.region(i) for i in index], self.images.size),
        )

    def release(self) -> None:
        """Free the memory; the object cannot return batches afterwards."""
        self.image = self.fixations = self.density = torch.empty(0)

    def _draw_flip(self, draw: int | SeededIndex) -> bool:
        augment, generator = self.images.augment, None
        if isinstance(draw, SeededIndex):
            generator = torch.Generator().manual_seed(draw.seed)
        return augment.draw_flip(generator) if augment else False


def choose_device_cache(
    option: bool | None,
    splits: Mapping[str, SaliencyImages],
    device: torch.device,
    free: int | None = None,
) -> bool:
    """Return whether the images are stored on the device.

    Args:
        option: True to require it, False to forbid it, None for a device whose free memory is
            known and at least twice the need.
        splits: train and val.
        device: the device that trains.
        free: its free memory in bytes; None if torch does not report it.

    Raises:
        ValueError: `option` is True, and the images cannot be stored.
    """
    if option is False:
        return False
    augment, needed = splits["train"].augment, sum(map(_needed_bytes, splits.values()))
    if splits["train"].fit == "cover":
        reason = "the window differs for every view; set data.fit=pad"
    elif augment and (augment.crop < 1 or augment.colour):
        reason = "crops and colours differ for every view; set data.crop=1 data.colour=0"
    elif free is not None and needed > free:
        reason = (
            f"the images need {needed / 2**30:.3g} GiB and {device} has {free / 2**30:.3g} GiB "
            "free; set a smaller data.size"
        )
    else:
        return bool(option) or (free is not None and 2 * needed <= free)
    if option:
        raise ValueError(f"data.device_cache=true: {reason}, or data.device_cache=false")
    return False


def free_memory(device: torch.device) -> int | None:
    """Return the free bytes of an NVIDIA or AMD GPU; None for any other device."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None


def _needed_bytes(images: SaliencyImages) -> int:
    height, width = images.size
    return len(images) * height * width * (3 + 8 * len(_deterministic_views(images)))


def _deterministic_views(images: SaliencyImages) -> list[RandomAugmentation | None]:
    """Return an augmentation per possible view: none, and a flip if flips are drawn."""
    return (
        [None, RandomAugmentation(flip=1.0)] if images.augment and images.augment.flip else [None]
    )


def _ordered_batches(
    images: SaliencyImages, augment: RandomAugmentation | None, num_workers: int
) -> DataLoader[Batch]:
    """Return all images in order; torch's own random state does not change."""
    view = copy(images)
    view.augment = augment
    return DataLoader(
        view,  # type: ignore[arg-type]  # its `__getitems__` collates
        DECODE_BATCH_SIZE,
        sampler=[SeededIndex(i, 0) for i in range(len(images))],
        collate_fn=identity_collate,
        num_workers=num_workers,
        generator=torch.Generator(),
    )
