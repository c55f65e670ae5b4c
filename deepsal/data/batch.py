"""Samples of a data set and the batches made of them."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

MapBatch = Float[Tensor, "B H W"]
"""One map per image."""


class ImageRegion(NamedTuple):
    """The part of the network's image that is the image; the rest is padding, in pixels."""

    top: int
    left: int
    height: int
    width: int

    def fills(self, frame: tuple[int, int]) -> bool:
        """Return whether a frame (h, w) has no padding."""
        return (self.height, self.width) == frame

    def slices(self) -> tuple[slice, slice]:
        """Return the rows and the columns."""
        rows = slice(self.top, self.top + self.height)
        return rows, slice(self.left, self.left + self.width)


class Sample(NamedTuple):
    """One image as a network sees it, and its ground truth at the resolution it is scored at.

    Args:
        image: float (3, h, w) in [0, 1].
        fixations: counts (H, W).
        density: (H, W), sums to one; zeros if a benchmark does not publish the fixations.
        points: float64 (N, 2), (x, y) in pixels of `size`.
        name: of the image.
        size: (height, width) of the stored image.
        region: of the image in `image`; None for an image without padding. Truth at the network's
            size is zero in the padding.
    """

    image: Float[Tensor, "3 h w"]
    fixations: Float[Tensor, "H W"]
    density: Float[Tensor, "H W"]
    points: Float[Tensor, "N 2"]
    name: str
    size: tuple[int, int]
    region: ImageRegion | None = None


class GroundTruth(NamedTuple):
    """Ground truth of predictions; a score that needs a missing part cannot be computed.

    B images, maps of (H, W). density: sums to one per image · fixations: counts ·
    other_fixations: counts of the fixations on other images, rescaled to (H, W) (shuffled AUC) ·
    baseline_log_density: of the density that information gain is measured from · sigma: standard
    deviation of the density's blur in pixels (optimal maps) · mask: False at padding, True at
    the image's pixels.
    """

    density: MapBatch
    fixations: MapBatch
    other_fixations: MapBatch | None = None
    baseline_log_density: MapBatch | None = None
    sigma: float | None = None
    mask: Bool[Tensor, "B H W"] | None = None


class SeededIndex(NamedTuple):
    """The position of an image in its split, and the seed of this view's augmentation."""

    position: int
    seed: int


class Batch(NamedTuple):
    """Samples of one size, stacked; the points, of unequal number, are a list on the CPU.

    Before the move to the device that uses it, the image is uint8 in [0, 255]: a quarter of the
    bytes. `regions` is None if no image has padding.
    """

    image: Float[Tensor, "B 3 h w"] | UInt8[Tensor, "B 3 h w"]
    fixations: MapBatch
    density: MapBatch
    points: list[Tensor]
    name: list[str]
    size: list[tuple[int, int]]
    regions: list[ImageRegion] | None = None

    def to_device(self, device: torch.device) -> "Batch":
        """Return the batch on a device, its image in [0, 1]; copies to a GPU are asynchronous."""
        at: dict[str, Any] = {"device": device, "non_blocking": device.type == "cuda"}
        image = self.image.to(**at)
        if not image.is_floating_point():
            image = image / image.new_full((), 255)  # a plain 255 is multiplied by 1/255 on a GPU
        return self._replace(
            image=image, fixations=self.fixations.to(**at), density=self.density.to(**at)
        )

    def pin_memory(self) -> "Batch":
        """Return the batch with its stacked tensors in page-locked memory."""
        return self._replace(
            image=self.image.pin_memory(),
            fixations=self.fixations.pin_memory(),
            density=self.density.pin_memory(),
        )


def collate_samples(samples: Sequence[Sample], fixations: Tensor | None = None) -> Batch:
    """Stack samples into a `Batch`.

    Args:
        samples: of one size.
        fixations: (B, H, W), their counts, already stacked; None to stack them.
    """
    images, counts, density, points, name, size, regions = zip(*samples, strict=True)
    return Batch(
        torch.stack(images),
        torch.stack(counts) if fixations is None else fixations,
        torch.stack(density),
        list(points),
        list(name),
        list(size),
        collate_regions(regions, images[0].shape[-2:]),
    )


def collate_regions(
    regions: Sequence[ImageRegion | None], frame: Sequence[int]
) -> list[ImageRegion] | None:
    """Return the regions of a batch in a frame (h, w); None if no image has padding."""
    whole = ImageRegion(0, 0, *frame)
    return [region or whole for region in regions] if any(regions) else None


@runtime_checkable
class FixationImages(Protocol):
    """Samples of one size, and their pixels per degree of visual angle; None if unknown."""

    pixels_per_degree: float | None

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Sample: ...


def first_images(images: FixationImages, count: int) -> Float[Tensor, "N 3 h w"]:
    """Return the first images of a split, at most all of them."""
    return torch.stack([images[i].image for i in range(min(count, len(images)))])
