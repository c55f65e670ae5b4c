"""Images of a split with their fixations, decoded once and augmented for every view."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2

from deepsal.data.augment import ImageView, RandomAugmentation
from deepsal.data.batch import Batch, Sample, SeededIndex, collate_samples
from deepsal.data.cache import DatasetCache
from deepsal.data.dataset import SaliencyDataset, fixation_density, rasterise_fixations


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

    Attributes:
        pixels_per_degree: pixels of the network's image per degree of visual angle, from the width
            of the first image; None if unknown.
    """

    def __init__(
        self,
        dataset: SaliencyDataset,
        positions: Sequence[int],
        size: tuple[int, int],
        augment: RandomAugmentation | None = None,
        own_resolution: bool = False,
        cache: DatasetCache | None = None,
    ) -> None:
        self.dataset = dataset
        self.positions = list(positions)
        self.stimuli = [dataset.stimuli[i] for i in positions]
        self.size = size
        self.augment = augment
        self.own_resolution = own_resolution
        self.pixels_per_degree = dataset.pixels_per_degree
        if self.pixels_per_degree and self.stimuli:
            self.pixels_per_degree *= size[1] / self.stimuli[0].size[1]
        cache = cache or DatasetCache()
        crop = augment.crop if augment else 1.0  # cached larger, so that no crop is magnified
        self.cached_size = (math.ceil(size[0] / crop), math.ceil(size[1] / crop))
        self.images = cache.images(dataset, self.cached_size)
        self.densities = None
        if crop == 1 and not own_resolution:
            self.densities = cache.densities(dataset, size)

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

    def _sample(
        self, draw: int | SeededIndex, counts: Float[Tensor, "H W"] | None = None
    ) -> Sample:
        """Return a sample whose image is uint8; `counts` are zeros that receive its counts."""
        index, seed = draw if isinstance(draw, SeededIndex) else (draw, None)
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        stimulus = self.stimuli[index]
        points = torch.from_numpy(stimulus.fixations)
        view = ImageView(self._image(index), points, stimulus.size)
        if self.augment:
            view = self.augment(view, generator)
        image = view.image
        if tuple(image.shape[1:]) != self.size:
            image = v2.functional.resize(image, list(self.size), antialias=True)
        grid = view.size if self.own_resolution else self.size
        counts = rasterise_fixations(view.points, view.size, grid, counts)
        density = self._density(index, view, counts)
        return Sample(image, counts, density, view.points, stimulus.name, view.size)

    def _image(self, index: int) -> UInt8[Tensor, "3 h w"]:
        position = self.positions[index]
        image = self.images.get(position)
        if image is None:
            image = self.stimuli[index].read_checked()
            image = v2.functional.resize(image, list(self.cached_size), antialias=True)
            self.images.put(position, image)
        return image

    def _density(
        self, index: int, view: ImageView, counts: Float[Tensor, "H W"]
    ) -> Float[Tensor, "H W"]:
        if self.dataset.fixations_hidden and not len(view.points):
            return counts
        record = 2 * self.positions[index] + view.flipped
        density = self.densities.get(record) if self.densities else None
        if density is None:
            stored_sigma = self.stimuli[index].sigma or self.dataset.sigma
            down, across = (
                stored_sigma * scale * cells / pixels
                for cells, pixels, scale in zip(counts.shape, view.size, view.scale, strict=True)
            )
            density = fixation_density(counts, (down, across))
            if self.densities:
                self.densities.put(record, density)
        return density
