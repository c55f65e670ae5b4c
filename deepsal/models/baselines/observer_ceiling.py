"""Ceilings for networks: fixations of people predicted from those of other people."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from typing_extensions import override

from deepsal.data.batch import GroundTruth, MapBatch
from deepsal.data.dataset import SaliencyDataset, Stimulus
from deepsal.models.baselines.baseline import Baseline, ImageBatch
from deepsal.models.baselines.centre import Centre

MAX_TRAINING_IMAGES = 500
MAX_VALUES = 1 << 23
"""Pixels of all maps that are scored at once: with more observers, memory does not grow."""
SPLIT_HALF_SCORES = ("cc", "kl", "sim", "emd")
"""Scores against a density, for which the few fixations of one person are no truth."""

Ceiling = TypeVar("Ceiling", bound="ObserverCeiling")
ScoreFunction = Callable[[MapBatch, GroundTruth], Mapping[str, Tensor]]


class ObserverCeiling(Baseline):
    """Density of other people's fixations on the same image: a ceiling for networks.

    A subclass is an estimator of this density. Its parameters are fitted to the first 500 training
    images, of those that two people or more saw. `score_ceiling` scores it. As a plain network it
    returns the density of *everyone's* fixations, which is the truth itself and no ceiling.

    Letters of shapes: N fixations of an image, V sets of them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.centre_prior = Centre()
        self.stimuli: dict[str, Stimulus] = {}
        self.test_images: list[Stimulus] = []

    @abstractmethod
    def fit(self, stimuli: Sequence[Stimulus]) -> None:
        """Fit the parameters to training images, each seen by two people or more.

        Raises:
            ValueError: there is no image, and a parameter is left to fit.
        """

    @abstractmethod
    def densities(
        self, stimulus: Stimulus, predicting: Bool[Tensor, "V N"], size: tuple[int, int]
    ) -> MapBatch:
        """Return the density that each set of an image's fixations predicts, `(V, H, W)`."""

    @override
    def prepare(self: Ceiling, dataset: SaliencyDataset) -> Ceiling:
        """Fit the ceiling to a data set; return self.

        Raises:
            ValueError: a test image has fewer than two observers; and the errors of `fit`.
        """
        self.sigma = dataset.sigma
        self.centre_prior.prepare(dataset)
        self.stimuli = {stimulus.name: stimulus for stimulus in dataset.stimuli}
        self.test_images = [dataset.stimuli[i] for i in dataset.splits["test"]]
        if alone := [s for s in self.test_images if len(np.unique(s.observers)) < 2]:
            raise ValueError(_explain_single_observers(alone, self.test_images, dataset.name))
        train = [dataset.stimuli[i] for i in dataset.splits["train"]][:MAX_TRAINING_IMAGES]
        self.fit([s for s in train if len(np.unique(s.observers)) > 1])
        return self

    @override
    def predict(self, image: ImageBatch, size: tuple[int, int], name: Sequence[str]) -> MapBatch:
        if len(name) != len(image):
            raise ValueError(f"{self._kind} needs the name of each image: call it with name=[…]")
        stimuli = [self._stimulus(n) for n in name]
        everyone = [torch.ones(1, len(s.observers), dtype=torch.bool) for s in stimuli]
        pairs = zip(stimuli, everyone, strict=True)
        return torch.cat([self.densities(s, who, size) for s, who in pairs]).log()

    def score_ceiling(
        self, name: Sequence[str], size: tuple[int, int], score: ScoreFunction
    ) -> dict[str, Float[Tensor, " B"]]:
        """Score the prediction of people from other people on each image.

        Scores at fixations predict each person from all others and are averaged over fixations.
        `SPLIT_HALF_SCORES` predict the even half of the people from the odd half and the reverse,
        and are averaged over the two. The truth of a network's score is everyone's fixations, so
        this ceiling is cautious for them.

        Args:
            name: of each image.
            size: (H, W) of the maps that are scored.
            score: V log densities `(V, H, W)` and their ground truth → values `(V,)` by name.

        Raises:
            ValueError: an image was seen by fewer than two people.
        """
        scores = [self._score_image(self._stimulus(n), size, score) for n in name]
        return {key: torch.stack([values[key] for values in scores]) for key in scores[0]}

    def centre_density(self, name: str, size: tuple[int, int]) -> MapBatch:
        """Return the centre prior of an image as a map, `(1, H, W)`."""
        return self.centre_prior.predict(torch.zeros(1, 3, 1, 1), size, [name]).exp()

    def centre_at_fixations(self, stimulus: Stimulus) -> Float[Tensor, " N"]:
        """Return the centre prior at an image's fixations, per pixel."""
        extent = extent_of(stimulus)
        fraction = (torch.from_numpy(stimulus.fixations) + 0.5) / extent
        cell = (fraction * Centre.GRID_SIDE).long().clamp(0, Centre.GRID_SIDE - 1)
        centre = self.centre_prior.density_grid(stimulus.name)[cell[:, 1], cell[:, 0]]
        return centre * Centre.GRID_SIDE**2 / extent.prod()

    def blur_of(self, stimulus: Stimulus) -> float:
        """Return the blur of an image's ground truth in its pixels."""
        return stimulus.sigma or self.sigma

    def _score_image(
        self, stimulus: Stimulus, size: tuple[int, int], score: ScoreFunction
    ) -> dict[str, Tensor]:
        observers = torch.from_numpy(stimulus.observers)
        people = observers_of(stimulus)

        def score_held_out(held_out: Bool[Tensor, "V N"]) -> Mapping[str, Tensor]:
            log_density = self.densities(stimulus, ~held_out, size).log()
            return score(log_density, self._truth(stimulus, held_out, size))

        one = observers == people[:, None]
        even = one[::2].any(0)
        together = max(1, MAX_VALUES // (size[0] * size[1]))
        parts = [score_held_out(some) for some in one.split(together)]
        alone = {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
        half = score_held_out(torch.stack([even, ~even]))
        count = one.sum(1)
        return {
            key: half[key].mean()
            if key in SPLIT_HALF_SCORES
            else (alone[key] * count).sum() / count.sum()
            for key in alone
        }

    def _truth(
        self, stimulus: Stimulus, held_out: Bool[Tensor, "V N"], size: tuple[int, int]
    ) -> GroundTruth:
        """Return density and counts of each set of held-out fixations."""
        points, scale = scaled_points(stimulus, size)
        limit = torch.tensor([size[1] - 1, size[0] - 1])
        cells = points.add(0.5).floor().clamp_min(0).minimum(limit)
        density = gaussian_maps(cells, held_out, size, self.blur_of(stimulus) * scale)
        column, row = cells.long().T
        pixel, pixels = row * size[1] + column, size[0] * size[1]
        counts = torch.stack([torch.bincount(pixel[h], minlength=pixels) for h in held_out])
        return GroundTruth(density, counts.view(-1, *size).float())

    def _stimulus(self, name: str) -> Stimulus:
        if name not in self.stimuli:
            raise ValueError(f"{self._kind} knows no image {name!r}: call prepare(dataset) first")
        return self.stimuli[name]

    @property
    def _kind(self) -> str:
        return type(self).__name__


def observers_of(stimulus: Stimulus) -> Int[Tensor, " P"]:
    """Return the P observers of an image.

    Raises:
        ValueError: there are fewer than two.
    """
    people: Tensor = torch.from_numpy(stimulus.observers).unique()
    if len(people) < 2:
        raise ValueError(
            f"a ceiling predicts each observer from the others, and {stimulus.name} has "
            f"{len(people)}; score images that two people or more saw"
        )
    return people


def _explain_single_observers(
    alone: Sequence[Stimulus], test_images: Sequence[Stimulus], dataset: str
) -> str:
    """Return the error of test images with one observer each: of all of them, or of some."""
    problem = "a ceiling predicts each observer from the others, and"
    if len(alone) == len(test_images):
        return (
            f"{problem} no test image of {dataset} has two; set a data set of several observers, "
            "such as data=osie"
        )
    return (
        f"{problem} {len(alone)} of {len(test_images)} test images of {dataset} have 1 "
        f"({alone[0].name} …); leave them out of the test images (data=folder: splits.csv) or set "
        "another data set, such as data=osie"
    )


def extent_of(stimulus: Stimulus) -> Float[Tensor, "2"]:
    """Return (width, height) of an image, float64."""
    return torch.tensor(stimulus.size[::-1], dtype=torch.float64)


def scaled_points(
    stimulus: Stimulus, size: tuple[int, int]
) -> tuple[Float[Tensor, "N 2"], Float[Tensor, "2"]]:
    """Return an image's fixations in pixels of a map (H, W), and its pixels per image pixel."""
    scale = torch.tensor([size[1] / stimulus.size[1], size[0] / stimulus.size[0]])
    return (torch.from_numpy(stimulus.fixations) + 0.5) * scale - 0.5, scale


def gaussian_maps(
    points: Float[Tensor, "N 2"],
    members: Bool[Tensor, "V N"],
    size: tuple[int, int],
    sigma: Float[Tensor, "2"],
) -> MapBatch:
    """Return a density `(V, H, W)` per row of `members`, float32: a Gaussian on each of its points.

    Args:
        points: in pixels of the map.
        members: the points of each density.
        size: (H, W) of the map.
        sigma: standard deviation in x and y, in pixels of the map.
    """
    across, down = (
        torch.exp(-0.5 * ((torch.arange(n)[:, None] - at) / s).square()).float()
        for n, at, s in zip(size[::-1], points.T, sigma, strict=True)
    )
    maps = torch.stack([down[:, m] @ across[:, m].T for m in members])
    return maps / maps.sum((-2, -1), keepdim=True)
