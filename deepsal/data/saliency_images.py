"""Images of a split with their fixations, decoded once and augmented for every view."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2

from deepsal.data.augment import ImageView, RandomAugmentation, cut_window
from deepsal.data.batch import Batch, ImageRegion, Sample, SeededIndex, collate_samples
from deepsal.data.cache import DatasetCache
from deepsal.data.dataset import SaliencyDataset, fixation_density, rasterise_fixations
from deepsal.data.frame import covering_size, padded_region, place_in_frame


class SaliencyImages(Dataset[Sample]):
    """The images of one split at the network's size.

    An image is decoded and resized once, then cached (uint8, shared by the workers and, in a file,
    by other runs).

    Args:
        dataset: the data set of the split.
        positions: the split's stimuli.
        size: (h, w) of the network's image.
        augment: changes training images and their points; None for no change.
        own_resolution: rasterise the truth at the stored image's size instead of at `size`.
        cache: of the decoded images; None for one in memory.
        fit: of an image whose shape is not that of `size`. `squeeze` changes its shape. `pad`
            scales it to fit inside and leaves the rest black, with no truth there. `cover` scales
            it to cover `size` and cuts its longer side: at random if there is an augmentation
            (`keep` of its fixations stay), else as near the middle as a fixation allows.

    Attributes:
        pixels_per_degree: pixels of the network's image per degree of visual angle, from the width
            of the first image; None if unknown.
        cached_size: (h, w) of a cached record, which holds each image at its upper left.
    """

    def __init__(
        self,
        dataset: SaliencyDataset,
        positions: Sequence[int],
        size: tuple[int, int],
        augment: RandomAugmentation | None = None,
        own_resolution: bool = False,
        cache: DatasetCache | None = None,
        fit: str = "squeeze",
    ) -> None:
        self.dataset = dataset
        self.positions = list(positions)
        self.stimuli = [dataset.stimuli[i] for i in positions]
        self.size = size
        self.augment = augment
        self.own_resolution = own_resolution
        self.fit = fit
        self.pixels_per_degree = dataset.pixels_per_degree
        if self.pixels_per_degree and self.stimuli:
            first = self.stimuli[0].size
            self.pixels_per_degree *= self._scaled_size(first)[1] / first[1]
        cache = cache or DatasetCache()
        self.crop = augment.crop if augment else 1.0  # cached larger, so that no crop is magnified
        height, width = size
        if fit == "cover":
            sizes = [self._scaled_size(stimulus.size) for stimulus in dataset.stimuli]
            height, width = (max(sides) for sides in zip(*sizes, strict=True))
        self.cached_size = self._size_before_crop((height, width))
        self.images = cache.images(dataset, self.cached_size, fit)
        self.densities = None
        if self.crop == 1 and not own_resolution and fit != "cover":
            self.densities = cache.densities(dataset, size, fit)

    def __len__(self) -> int:
        return len(self.stimuli)

    def __getitem__(self, index: int) -> Sample:
        sample = self._sample(index)
        return sample._replace(image=sample.image / 255)

    def __getitems__(self, draws: Sequence[int | SeededIndex]) -> Batch:
        """Return a batch whose image is uint8.

        Args:
            draws: positions in the split. The augmentation of a `SeededIndex` follows from its
                seed, that of an integer from torch's own generator.
        """
        counts = None if self.own_resolution else torch.zeros(len(draws), *self.size)
        samples = [
            self._sample(draw, None if counts is None else counts[i])
            for i, draw in enumerate(draws)
        ]
        return collate_samples(samples, counts)

    def region(self, index: int) -> ImageRegion | None:
        """Return the part of the network's image that is the image; None for all of it."""
        if self.fit != "pad":
            return None
        region = padded_region(self.stimuli[index].size, self.size)
        return None if region.fills(self.size) else region

    def _scaled_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the size of a whole image of a stored size, in pixels of the network's image."""
        if self.fit == "cover":
            return covering_size(size, self.size)
        return padded_region(size, self.size)[2:] if self.fit == "pad" else self.size

    def _size_before_crop(self, size: tuple[int, int]) -> tuple[int, int]:
        return math.ceil(size[0] / self.crop), math.ceil(size[1] / self.crop)

    def _sample(
        self, draw: int | SeededIndex, counts: Float[Tensor, "H W"] | None = None
    ) -> Sample:
        """Return a sample whose image is uint8; `counts` are zeros that receive its counts."""
        index, seed = draw if isinstance(draw, SeededIndex) else (draw, None)
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        stimulus = self.stimuli[index]
        points = torch.from_numpy(stimulus.fixations)
        view = ImageView(self._image(index), points, stimulus.size)
        if self.fit == "cover":
            keep = self.augment.keep if self.augment else None
            view = cut_window(view, self._size_before_crop(self.size), keep, generator)
        if self.augment:
            view = self.augment(view, generator)
        region = self.region(index)
        height, width = region[2:] if region else self.size
        image = view.image
        if tuple(image.shape[1:]) != (height, width):
            image = v2.functional.resize(image, [height, width], antialias=True)
        grid = view.size if self.own_resolution else (height, width)
        padded = None if self.own_resolution else region
        part = rasterise_fixations(view.points, view.size, grid, None if padded else counts)
        density = self._density(index, view, part, padded)
        if padded:
            counts = torch.zeros(self.size) if counts is None else counts
            counts[padded.slices()] = part
        else:
            counts = part
        if region:
            image = place_in_frame(image, self.size, region)
        return Sample(image, counts, density, view.points, stimulus.name, view.size, region)

    def _image(self, index: int) -> UInt8[Tensor, "3 h w"]:
        position, stimulus = self.positions[index], self.stimuli[index]
        height, width = self._size_before_crop(self._scaled_size(stimulus.size))
        record = self.images.get(position)
        if record is None:
            image = stimulus.read_checked()
            image = v2.functional.resize(image, [height, width], antialias=True)
            record = place_in_frame(image, self.cached_size, ImageRegion(0, 0, height, width))
            self.images.put(position, record)
        return record[:, :height, :width]

    def _density(
        self,
        index: int,
        view: ImageView,
        counts: Float[Tensor, "H W"],
        region: ImageRegion | None,
    ) -> Float[Tensor, "h w"]:
        """Return the density of counts, in its region of the network's image if it has one."""
        if self.dataset.fixations_hidden and not len(view.points):
            return place_in_frame(counts, self.size, region) if region else counts
        record = 2 * self.positions[index] + view.flipped
        density = self.densities.get(record) if self.densities else None
        if density is None:
            stored_sigma = self.stimuli[index].sigma or self.dataset.sigma
            down, across = (
                stored_sigma * scale * cells / pixels
                for cells, pixels, scale in zip(counts.shape, view.size, view.scale, strict=True)
            )
            density = fixation_density(counts, (down, across))
            if region:
                density = place_in_frame(density, self.size, region)
            if self.densities:
                self.densities.put(record, density)
        return density
