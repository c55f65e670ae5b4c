"""Saliency data sets in memory: stimuli with their fixations, splits and blur.

Coordinates are (x, y) in pixels, x to the right, y down, 0-based: pixel i covers [i−½, i+½), so
an image of width W holds −½ ≤ x < W−½. Fixations remain coordinates of the stored image until
they are rasterised. They are never resized as an image.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from numpy.typing import NDArray
from torch import Tensor

SPLIT_NAMES = ("train", "val", "test")


@dataclass(frozen=True)
class Stimulus:
    """One image and all fixations on it.

    Args:
        name: the file's name, which tables use.
        size: (height, width) of the stored image in pixels.
        fixations: float64 (N, 2) of (x, y), see the module's convention.
        observers: int (N,), the observer of each fixation.
        read: a function that returns the image as uint8 (3, height, width), RGB.
        sigma: the blur of its ground truth in its pixels; None for that of the data set.
        target_masks: a function that returns the pixels (height, width) of a search target and of
            its distractors; None for an image without a target.
    """

    name: str
    size: tuple[int, int]
    fixations: NDArray[np.float64]
    observers: NDArray[np.int64]
    read: Callable[[], UInt8[Tensor, "3 H W"]]
    sigma: float | None = None
    target_masks: Callable[[], tuple[Bool[Tensor, "H W"], Bool[Tensor, "H W"]]] | None = None

    def read_checked(self) -> UInt8[Tensor, "3 H W"]:
        """Read the image and compare its size with the stated one.

        Raises:
            ValueError: they differ.
        """
        image = self.read()
        if tuple(image.shape[1:]) != self.size:
            raise ValueError(
                f"{self.name} has (height, width) {tuple(image.shape[1:])}, "
                f"but its data set says {self.size}"
            )
        return image


@dataclass(frozen=True)
class SaliencyDataset:
    """A data set in memory: stimuli, splits, and the blur that turns fixations into a density.

    Args:
        name: the data set and its release.
        stimuli: all images; `splits` refers to them by position.
        splits: train, val and test as disjoint positions.
        sigma: standard deviation of the ground truth's Gaussian blur, in stored-image pixels.
        pixels_per_degree: stored-image pixels per degree of visual angle; None if unknown.
        dropped: number of fixations that its reader left out, by reason.
        fixations_hidden: a benchmark's server holds the fixations, so images need none.
        sampling_weights: relative frequency of each stimulus in training; None for equal weights.

    Raises:
        ValueError: a fixation is not finite or lies off its image, an image has no fixation, splits
            overlap, or sigma is not positive; the message names the image.
    """

    name: str
    stimuli: Sequence[Stimulus]
    splits: Mapping[str, Sequence[int]]
    sigma: float
    pixels_per_degree: float | None = None
    dropped: Mapping[str, int] = field(default_factory=dict)
    fixations_hidden: bool = False
    sampling_weights: Sequence[float] | None = None

    def __post_init__(self) -> None:
        if self.sigma is None or not self.sigma > 0:
            raise ValueError(
                f"{self.name}: sigma={self.sigma} must be a positive number of pixels; set "
                "data.dataset.sigma=PIXELS"
            )
        for stimulus in self.stimuli:
            _check_stimulus(self.name, stimulus, self.fixations_hidden)
        assigned = [i for split in self.splits.values() for i in split]
        if len(assigned) != len(set(assigned)):
            raise ValueError(f"{self.name}: an image is in two splits; splits must not overlap")

    def sigma_of(self, name: str) -> float:
        """Return the blur of an image's ground truth in its pixels."""
        return next(s.sigma for s in self.stimuli if s.name == name) or self.sigma

    def target_masks(self, name: str) -> tuple[Bool[Tensor, "H W"], Bool[Tensor, "H W"]] | None:
        """Return the pixels of an image's search target and of its distractors, if it has one."""
        masks = next(s.target_masks for s in self.stimuli if s.name == name)
        return masks() if masks else None

    def other_images_counts(
        self, split: str, name: str, grid: tuple[int, int], images: int | None = None
    ) -> Float[Tensor, "H W"]:
        """Count the fixations of a split's other images, each rescaled to a grid (shuffled AUC).

        Args:
            split: the split of the other images.
            name: the image to leave out.
            grid: (H, W) of the result.
            images: number of other images, drawn with the image's name as seed; None for all.
        """
        rest = [s for i in self.splits[split] if (s := self.stimuli[i]).name != name]
        if images is not None and images < len(rest):
            random = np.random.default_rng(list(name.encode()))
            rest = [rest[i] for i in random.choice(len(rest), images, replace=False)]
        if not rest:
            return torch.zeros(grid)
        fractions = np.concatenate([(s.fixations + 0.5) / s.size[::-1] for s in rest])
        return rasterise_fixations(torch.from_numpy(fractions - 0.5), (1, 1), grid)


def _check_stimulus(dataset: str, stimulus: Stimulus, fixations_hidden: bool) -> None:
    points, (height, width) = stimulus.fixations, stimulus.size
    where = f"{dataset}, image {stimulus.name} ({width}x{height})"
    if stimulus.sigma is not None and not stimulus.sigma > 0:
        raise ValueError(f"{where}: sigma={stimulus.sigma:g} must be a positive number of pixels")
    if len(points) == 0 and not fixations_hidden:
        raise ValueError(f"{where} has no fixation; remove it or add its fixations")
    if not np.isfinite(points).all():
        raise ValueError(f"{where} has a fixation with a non-finite coordinate")
    outside = (points < -0.5) | (points >= (width - 0.5, height - 0.5))
    if outside.any():
        x, y = points[outside.any(1)][0]
        raise ValueError(
            f"{where}: {outside.any(1).sum()} fixations lie off the image, first ({x:g}, {y:g}); "
            "coordinates are 0-based pixels of the image as stored"
        )


def rasterise_fixations(
    points: Float[Tensor, "N 2"],
    size: tuple[int, int],
    grid: tuple[int, int],
    out: Float[Tensor, "H W"] | None = None,
) -> Float[Tensor, "H W"]:
    """Count the fixations in each cell of a grid that covers the image.

    Every fixation is counted, for any grid. (On OSIE, resizing a fixation image to 256x256 by
    nearest neighbour loses 86 % of them.)

    Args:
        points: (x, y) in pixels of the image, 0-based, pixel i covers [i−½, i+½). The far border
            W−½, to which a flip moves −½, belongs to the last pixel.
        size: (height, width) of that image.
        grid: (H, W) of the result.
        out: zeros of that shape, contiguous, that receive the counts; None for a new tensor.

    Raises:
        ValueError: a point lies off the image.

    >>> rasterise_fixations(torch.tensor([[0.0, 0.0], [3.4, 0.0]]), (4, 4), (2, 2)).tolist()
    [[1.0, 1.0], [0.0, 0.0]]
    """
    fraction = (points.double() + 0.5) / torch.tensor([size[1], size[0]], dtype=torch.float64)
    inside = ((fraction >= 0) & (fraction <= 1)).all(1)
    if not inside.all():
        x, y = points[~inside][0].tolist()
        raise ValueError(f"fixation ({x:g}, {y:g}) lies off its {size[1]}x{size[0]} image")
    cells = (fraction * torch.tensor([grid[1], grid[0]])).long()
    column, row = (cells[:, axis].clamp(max=grid[1 - axis] - 1) for axis in (0, 1))
    counts = torch.zeros(grid) if out is None else out
    counts.view(-1).scatter_add_(0, row * grid[1] + column, torch.ones(len(points)))
    return counts


def fixation_density(
    counts: Float[Tensor, "H W"], sigma: tuple[float, float]
) -> Float[Tensor, "H W"]:
    """Convolve counts with a Gaussian and normalise them to a density (sum 1).

    The Gaussian is not truncated. The counts outside the map are zero.

    Args:
        counts: (H, W).
        sigma: (vertical, horizontal) standard deviation in cells.

    Raises:
        ValueError: the map is empty.
    """
    if counts.sum() <= 0:
        raise ValueError("a map without a fixation has no density")
    down, across = (_gaussian_matrix(n, s) for n, s in zip(counts.shape, sigma, strict=True))
    smooth = down @ counts @ across
    return smooth / smooth.sum()


@lru_cache(maxsize=64)
def _gaussian_matrix(n: int, sigma: float) -> Float[Tensor, "n n"]:
    at = torch.arange(n, dtype=torch.float64)
    return torch.exp(-0.5 * ((at[:, None] - at) / sigma).square()).float()
