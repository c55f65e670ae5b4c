"""The images of a split with their fixations, decoded once and augmented anew for every view."""

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
from deepsal.data.dataset import SaliencyDataset
from deepsal.data.fixation_maps import fixation_density, rasterise_fixations


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
        of_width = size[1] / self.stimuli[0].size[1] if self.stimuli else 1.0
        self.degree = dataset.degree * of_width if dataset.degree else None
        cache = cache or DatasetCache()
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

    def __getitems__(self, draws: Sequence[int | SeededIndex]) -> Batch:
        """Return a batch whose image is uint8; counts are made in their place.

        Args:
            draws: positions in the split. An augmentation is drawn from the seed of a `Draw`, and
                by torch's own generator where there is only an index.
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
        """Return a sample whose image is uint8; `counts` are zeros to count into."""
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
        self, index: int, view: ImageView, counts: Float[Tensor, "H W"]
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
        density = fixation_density(counts, (sigma[0], sigma[1]))
        if self.densities:
            self.densities.put(place, density)
        return density
