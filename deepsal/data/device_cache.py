"""Decoded images and their truth on the device that trains: no worker and no copy per step."""

from collections.abc import Mapping, Sequence
from copy import copy

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from deepsal.data.augment import RandomAugmentation
from deepsal.data.batch import Batch, Sample, SeededIndex
from deepsal.data.resumable_loader import identity_collate
from deepsal.data.saliency_images import SaliencyImages

DECODE_BATCH_SIZE = 32
"""Images that are decoded at a time."""


class DeviceImages(Dataset[Sample]):
    """The images of a split on a device, with batches bit for bit those of `SaliencyImages`.

    Fixation counts and densities are kept for an image and for its mirror image: a fixation on the
    border of two cells does not fall into the mirrored cell.

    Args:
        images: what to keep, without crops, colours or truth at another size.
        device: where.
        num_workers: processes that decode.
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
                at = slice(len(self.points), len(self.points) + len(batch.name))
                if at.stop <= count:  # the first view is as stored
                    self.image[at] = batch.image.to(device)
                self.fixations[at] = batch.fixations.to(device)
                self.density[at] = batch.density.to(device)
                self.points += [p.clone() for p in batch.points]  # shared memory is few files

    def __len__(self) -> int:
        return len(self.images)

    def __getitems__(self, draws: Sequence[int | SeededIndex]) -> Batch:
        """Return a batch on the device, its image still uint8.

        Args:
            draws: as `SaliencyImages` takes them.
        """
        index = [draw.position if isinstance(draw, SeededIndex) else draw for draw in draws]
        mirrored = [self._mirrors(draw) for draw in draws]
        truth = [i + len(self) * flipped for i, flipped in zip(index, mirrored, strict=True)]
        about = torch.tensor([index, truth, mirrored])
        images, places, flips = about.to(self.image.device, non_blocking=True)
        image = self.image[images]
        image = torch.where(flips.bool()[:, None, None, None], image.flip(-1), image)
        stimuli = [self.images.stimuli[i] for i in index]
        return Batch(
            image,
            self.fixations[places],
            self.density[places],
            [self.points[i] for i in truth],
            [stimulus.name for stimulus in stimuli],
            [stimulus.size for stimulus in stimuli],
        )

    def release(self) -> None:
        """Give the memory back; no batch can be asked for afterwards."""
        self.image = self.fixations = self.density = torch.empty(0)

    def _mirrors(self, draw: int | SeededIndex) -> bool:
        augment = self.images.augment
        if augment is None:
            return False
        generator = (
            torch.Generator().manual_seed(draw.seed) if isinstance(draw, SeededIndex) else None
        )
        return augment.mirrors(generator)


def choose_device_cache(
    option: bool | None,
    splits: Mapping[str, SaliencyImages],
    device: torch.device,
    free: int | None = None,
) -> bool:
    """Decide whether the images are kept on the device.

    Args:
        option: true to insist, false for never, None where an accelerator trains and half of its
            free memory is enough.
        splits: train and val.
        device: that trains.
        free: bytes that are free there; None where torch cannot tell.

    Raises:
        ValueError: `option` is true, and the images cannot be kept.
    """
    if option is False:
        return False
    augment, needed = splits["train"].augment, sum(map(_needed_bytes, splits.values()))
    if augment and (augment.crop < 1 or augment.colour):
        reason = "crops and colours are made anew for every view; set data.crop=1 data.colour=0"
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
    """Return the bytes that are free on a GPU; None for what is no NVIDIA or AMD GPU."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None


def _needed_bytes(images: SaliencyImages) -> int:
    height, width = images.size
    return len(images) * height * width * (3 + 8 * len(_deterministic_views(images)))


def _deterministic_views(images: SaliencyImages) -> list[RandomAugmentation | None]:
    """Return what makes the views that are drawn: as stored, and mirrored where that is drawn."""
    return (
        [None, RandomAugmentation(flip=1.0)] if images.augment and images.augment.flip else [None]
    )


def _ordered_batches(
    images: SaliencyImages, augment: RandomAugmentation | None, num_workers: int
) -> DataLoader[Batch]:
    """Return all images in order; torch's own random state is left as it is."""
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
