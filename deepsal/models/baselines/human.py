"""The human ceiling: fixations of people predicted from those of other people."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from typing_extensions import override

from deepsal.data.batch import GroundTruth, MapBatch
from deepsal.data.dataset import SaliencyDataset, Stimulus
from deepsal.models.baselines.baseline import Baseline, ImageBatch
from deepsal.models.baselines.centre import Centre

HUMAN_BANDWIDTHS = (0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0)
CENTRE_WEIGHTS = (0.01, 0.03, 0.1, 0.2, 0.4)
MAX_TRAINING_IMAGES = 500
MAX_VALUES = 1 << 23
"""Pixels of all maps that are scored at once: with more observers, memory does not grow."""
SPLIT_HALF_SCORES = ("cc", "kl", "sim", "emd")
"""Scores against a density, for which the few fixations of one person are no truth."""

ScoreFunction = Callable[[MapBatch, GroundTruth], Mapping[str, Tensor]]


class HumanCeiling(Baseline):
    """Density of other people's fixations on the same image: the human ceiling.

    It is (1 − w) · Gaussian kernel density of the *other* people's fixations + w · centre prior.
    Where they are None, the bandwidth and w are those of `HUMAN_BANDWIDTHS` and `CENTRE_WEIGHTS`
    with the largest leave-one-person-out likelihood of the fixations on the first 500 training
    images. Test fixations choose nothing.

    `score_ceiling` scores it. As a plain network it returns the density of *everyone's* fixations,
    which is the truth itself and no ceiling.

    Args:
        bandwidth: standard deviation of the kernel as a multiple of the image's blur.
        centre_weight: w.
    """

    def __init__(self, bandwidth: float | None = None, centre_weight: float | None = None) -> None:
        super().__init__()
        self.bandwidth = bandwidth
        self.centre_weight = centre_weight
        self.centre_prior = Centre()
        self.stimuli: dict[str, Stimulus] = {}

    @override
    def prepare(self, dataset: SaliencyDataset) -> "HumanCeiling":
        self.sigma = dataset.sigma
        self.centre_prior.prepare(dataset)
        self.stimuli = {stimulus.name: stimulus for stimulus in dataset.stimuli}
        if self.bandwidth is None or self.centre_weight is None:
            train = [dataset.stimuli[i] for i in dataset.splits["train"]][:MAX_TRAINING_IMAGES]
            self.bandwidth, self.centre_weight = self._fit_parameters(train)
        return self

    @override
    def settings(self) -> dict[str, Any]:
        """Return bandwidth and weight, and the settings of the centre prior that is mixed in."""
        chosen = {"bandwidth": self.bandwidth, "centre_weight": self.centre_weight}
        return {**chosen, "centre": self.centre_prior.settings()}

    @override
    def predict(self, image: ImageBatch, size: tuple[int, int], name: Sequence[str]) -> MapBatch:
        if len(name) != len(image):
            raise ValueError("HumanCeiling needs the name of each image: call it with name=[…]")
        everyone = [torch.ones(1, len(self._stimulus(n).observers), dtype=torch.bool) for n in name]
        pairs = zip(name, everyone, strict=True)
        return torch.cat([self._predict_held_out(n, size, who, who)[0] for n, who in pairs])

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
        scores = [self._score_image(n, size, score) for n in name]
        return {key: torch.stack([values[key] for values in scores]) for key in scores[0]}

    def _score_image(
        self, name: str, size: tuple[int, int], score: ScoreFunction
    ) -> dict[str, Tensor]:
        observers = torch.from_numpy(self._stimulus(name).observers)
        people = observers.unique()
        if len(people) < 2:
            raise ValueError(f"{name} was seen by {len(people)} person; a ceiling takes two")
        one = observers == people[:, None]
        even = one[::2].any(0)
        together = max(1, MAX_VALUES // (size[0] * size[1]))
        parts = [score(*self._predict_held_out(name, size, ~o, o)) for o in one.split(together)]
        alone = {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
        halves = torch.stack([even, ~even])
        half = score(*self._predict_held_out(name, size, ~halves, halves))
        count = one.sum(1)
        return {
            key: half[key].mean()
            if key in SPLIT_HALF_SCORES
            else (alone[key] * count).sum() / count.sum()
            for key in alone
        }

    def _predict_held_out(
        self,
        name: str,
        size: tuple[int, int],
        predicting: Bool[Tensor, "V N"],
        held_out: Bool[Tensor, "V N"],
    ) -> tuple[MapBatch, GroundTruth]:
        """Predict the held-out fixations from others, in V divisions of the image's N fixations."""
        assert self.bandwidth is not None
        assert self.centre_weight is not None
        stimulus = self._stimulus(name)
        scale = torch.tensor([size[1] / stimulus.size[1], size[0] / stimulus.size[0]])
        points = (torch.from_numpy(stimulus.fixations) + 0.5) * scale - 0.5
        sigma = (stimulus.sigma or self.sigma) * scale
        blurred = self._blurred(points, predicting, size, self.bandwidth * sigma)
        centre = self.centre_prior.predict(torch.zeros(1, 3, 1, 1), size, [name]).exp()
        mixed = (1 - self.centre_weight) * blurred + self.centre_weight * centre
        limit = torch.tensor([size[1] - 1, size[0] - 1])
        cells = points.add(0.5).floor().clamp_min(0).minimum(limit)
        density = self._blurred(cells, held_out, size, sigma)
        column, row = cells.long().T
        pixel, pixels = row * size[1] + column, size[0] * size[1]
        counts = torch.stack([torch.bincount(pixel[h], minlength=pixels) for h in held_out])
        return mixed.log(), GroundTruth(density, counts.view(-1, *size).float())

    @staticmethod
    def _blurred(
        points: Float[Tensor, "N 2"],
        members: Bool[Tensor, "V N"],
        size: tuple[int, int],
        sigma: Float[Tensor, "2"],
    ) -> MapBatch:
        """Return a density per row of `members`, float32: a Gaussian on each point of the row."""
        across, down = (
            torch.exp(-0.5 * ((torch.arange(n)[:, None] - at) / s).square()).float()
            for n, at, s in zip(size[::-1], points.T, sigma, strict=True)
        )
        maps = torch.stack([down[:, m] @ across[:, m].T for m in members])
        return maps / maps.sum((-2, -1), keepdim=True)

    def _fit_parameters(self, stimuli: Sequence[Stimulus]) -> tuple[float, float]:
        """Return the bandwidth and weight with the largest leave-one-person-out likelihood."""
        bandwidths = HUMAN_BANDWIDTHS if self.bandwidth is None else (self.bandwidth,)
        choices = CENTRE_WEIGHTS if self.centre_weight is None else (self.centre_weight,)
        weights = torch.tensor(choices, dtype=torch.float64)
        likelihood = torch.zeros(len(bandwidths), len(weights), dtype=torch.float64)
        for stimulus in stimuli:
            observers = torch.from_numpy(stimulus.observers)
            if len(observers.unique()) < 2:
                continue
            points = torch.from_numpy(stimulus.fixations)
            extent = torch.tensor([stimulus.size[1], stimulus.size[0]])
            others = observers[:, None] != observers
            cell = (
                ((points + 0.5) / extent * Centre.GRID_SIDE).long().clamp(0, Centre.GRID_SIDE - 1)
            )
            centre = self.centre_prior.density_grid(stimulus.name)[cell[:, 1], cell[:, 0]]
            centre = centre * Centre.GRID_SIDE**2 / extent.prod()
            sigma = stimulus.sigma or self.sigma
            for b, bandwidth in enumerate(bandwidths):
                density = _density_at_fixations(points, others, extent, bandwidth * sigma)
                mixed = (1 - weights) * density[:, None] + weights * centre[:, None]
                likelihood[b] += mixed.log().sum(0)
        if not likelihood.any():
            raise ValueError(
                "no training image was seen by two people; a ceiling takes two. Without training "
                "images set network.bandwidth and network.centre_weight"
            )
        best = divmod(int(likelihood.argmax()), len(weights))
        return bandwidths[best[0]], choices[best[1]]

    def _stimulus(self, name: str) -> Stimulus:
        if name not in self.stimuli:
            raise ValueError(f"HumanCeiling knows no image {name!r}: call prepare(dataset) first")
        return self.stimuli[name]


def _density_at_fixations(
    points: Float[Tensor, "N 2"], others: Bool[Tensor, "N N"], extent: Tensor, sigma: float
) -> Float[Tensor, " N"]:
    """Return the others' density at each fixation, per pixel; it sums to 1 over the image."""
    kernel = torch.exp(-(points[:, None] - points).square().sum(-1) / (2 * sigma**2))
    edges = torch.stack([-0.5 - points, extent - 0.5 - points]) / sigma
    inside = (torch.special.ndtr(edges[1]) - torch.special.ndtr(edges[0])).prod(1)
    mass = inside * 2 * torch.pi * sigma**2
    density: Tensor = (kernel * others).sum(1) / (others * mass).sum(1)
    return density
