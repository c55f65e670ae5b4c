"""The ceiling: how well people predict people."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from typing_extensions import override

from deepsal.models.baselines.baseline import Baseline, FixationDataset, ImageBatch, MapBatch
from deepsal.models.baselines.centre import Centre

HUMAN_BANDWIDTHS = (0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0)
CENTRE_WEIGHTS = (0.01, 0.03, 0.1, 0.2, 0.4)
MAX_TRAINING_IMAGES = 500
SPLIT_HALF_SCORES = ("cc", "kl", "sim", "emd")
"""Scores of a map against a density, for which one person's few fixations are no truth."""

ScoreFunction = Callable[[MapBatch, MapBatch, MapBatch], Mapping[str, Tensor]]


class HeldOutPrediction(NamedTuple):
    """What some people say of what others did; everything `(V, H, W)`, V ways to divide them."""

    log_density: MapBatch
    density: MapBatch
    fixations: MapBatch


class HumanCeiling(Baseline):
    """Other people's fixations on the same image as the prediction: the human ceiling.

    (1 − w) · Gaussian kernel density of the *other* people's fixations + w · centre prior. The
    bandwidth (a multiple of the image's blur) and w are those among `HUMAN_BANDWIDTHS` and
    `CENTRE_WEIGHTS` with the largest leave-one-person-out likelihood of the training images'
    fixations (the first 500 images), unless given. Test fixations choose nothing.

    `ceiling` scores it. As a plain network it returns the density of *everyone's* fixations, which
    is the truth itself and no ceiling.

    Args:
        bandwidth: standard deviation of the kernel as a multiple of the image's blur.
        centre: w.
    """

    def __init__(self, bandwidth: float | None = None, centre: float | None = None) -> None:
        super().__init__()
        self.bandwidth = bandwidth
        self.weight = centre
        self.prior = Centre()
        self.stimuli: dict[str, Any] = {}

    @override
    def prepare(self, dataset: FixationDataset) -> "HumanCeiling":
        self.sigma = dataset.sigma
        self.prior.prepare(dataset)
        self.stimuli = {stimulus.name: stimulus for stimulus in dataset.stimuli}
        if self.bandwidth is None or self.weight is None:
            train = [dataset.stimuli[i] for i in dataset.splits["train"]][:MAX_TRAINING_IMAGES]
            self.bandwidth, self.weight = self._best(train)
        return self

    @override
    def predict(self, image: ImageBatch, size: tuple[int, int], name: Sequence[str]) -> MapBatch:
        if len(name) != len(image):
            raise ValueError("Human knows images by name: call it with name=[…], one per image")
        everyone = [torch.ones(1, len(self._of(n).observers), dtype=torch.bool) for n in name]
        pairs = zip(name, everyone, strict=True)
        return torch.cat([self._view(n, size, who, who).log_density for n, who in pairs])

    def ceiling(
        self, name: Sequence[str], size: tuple[int, int], score: ScoreFunction
    ) -> dict[str, Float[Tensor, " B"]]:
        """Score people against people on each image.

        NSS, AUC and whatever is a mean over fixations: each person's fixations with the map of all
        others, averaged with the number of fixations as weights. CC, KL, SIM and EMD, which need a
        density as truth: the map of every second person against the blurred fixations of the
        rest, and the reverse, averaged; a network's truth is everyone's fixations, so this is a
        cautious ceiling.

        Args:
            name: of each image.
            size: (H, W) at which is scored.
            score: log densities, densities, fixation counts `(V, H, W)` → values `(V,)` by name.

        Raises:
            ValueError: an image was seen by fewer than two people.
        """
        found = [self._ceiling(n, size, score) for n in name]
        return {key: torch.stack([values[key] for values in found]) for key in found[0]}

    def _ceiling(self, name: str, size: tuple[int, int], score: ScoreFunction) -> dict[str, Tensor]:
        observers = torch.from_numpy(self._of(name).observers)
        people = observers.unique()
        if len(people) < 2:
            raise ValueError(f"{name} was seen by {len(people)} person; a ceiling takes two")
        one = observers == people[:, None]
        even = one[::2].any(0)
        alone = score(*self._view(name, size, ~one, one))
        halves = torch.stack([even, ~even])
        half = score(*self._view(name, size, ~halves, halves))
        count = one.sum(1)
        return {
            key: half[key].mean()
            if key in SPLIT_HALF_SCORES
            else (alone[key] * count).sum() / count.sum()
            for key in alone
        }

    def _view(
        self,
        name: str,
        size: tuple[int, int],
        seen: Bool[Tensor, "V N"],
        hidden: Bool[Tensor, "V N"],
    ) -> HeldOutPrediction:
        """Predict the hidden fixations from the seen ones."""
        assert self.bandwidth is not None
        assert self.weight is not None
        stimulus = self._of(name)
        scale = torch.tensor([size[1] / stimulus.size[1], size[0] / stimulus.size[0]])
        points = (torch.from_numpy(stimulus.fixations) + 0.5) * scale - 0.5
        sigma = (stimulus.sigma or self.sigma) * scale
        blurred = self._blurred(points, seen, size, self.bandwidth * sigma)
        centre = self.prior.predict(torch.zeros(1, 3, 1, 1), size, [name]).exp()
        mixed = (1 - self.weight) * blurred + self.weight * centre
        limit = torch.tensor([size[1] - 1, size[0] - 1])
        cells = points.add(0.5).floor().clamp_min(0).minimum(limit)
        truth = self._blurred(cells, hidden, size, sigma)
        column, row = cells.long().T
        counts = [
            torch.bincount((row * size[1] + column)[h], minlength=size[0] * size[1]) for h in hidden
        ]
        return HeldOutPrediction(mixed.log(), truth, torch.stack(counts).view(-1, *size).float())

    @staticmethod
    def _blurred(
        points: Float[Tensor, "N 2"],
        chosen: Bool[Tensor, "V N"],
        size: tuple[int, int],
        sigma: Float[Tensor, "2"],
    ) -> MapBatch:
        """Return a density per row of `chosen`, float32: a Gaussian on each chosen point."""
        across, down = (
            torch.exp(-0.5 * ((torch.arange(n)[:, None] - at) / s).square()).float()
            for n, at, s in zip(size[::-1], points.T, sigma, strict=True)
        )
        maps = torch.stack([down[:, c] @ across[:, c].T for c in chosen])
        return maps / maps.sum((-2, -1), keepdim=True)

    def _best(self, stimuli: Sequence[Any]) -> tuple[float, float]:
        """Return the bandwidth and weight with the largest leave-one-person-out likelihood."""
        bandwidths = HUMAN_BANDWIDTHS if self.bandwidth is None else (self.bandwidth,)
        choices = CENTRE_WEIGHTS if self.weight is None else (self.weight,)
        weights = torch.tensor(choices, dtype=torch.float64)
        found = torch.zeros(len(bandwidths), len(weights), dtype=torch.float64)
        for stimulus in stimuli:
            observers = torch.from_numpy(stimulus.observers)
            if len(observers.unique()) < 2:
                continue
            points = torch.from_numpy(stimulus.fixations)
            extent = torch.tensor([stimulus.size[1], stimulus.size[0]])
            others = observers[:, None] != observers
            cell = ((points + 0.5) / extent * Centre.GRID).long().clamp(0, Centre.GRID - 1)
            centre = self.prior.grid(stimulus.name)[cell[:, 1], cell[:, 0]]
            centre = centre * Centre.GRID**2 / extent.prod()
            sigma = stimulus.sigma or self.sigma
            for b, bandwidth in enumerate(bandwidths):
                density = _density_at_fixations(points, others, extent, bandwidth * sigma)
                mixed = (1 - weights) * density[:, None] + weights * centre[:, None]
                found[b] += mixed.log().sum(0)
        if not found.any():
            raise ValueError("no training image was seen by two people; a ceiling takes two")
        best = divmod(int(found.argmax()), len(weights))
        return bandwidths[best[0]], choices[best[1]]

    def _of(self, name: str) -> Any:
        if name not in self.stimuli:
            raise ValueError(f"Human knows no image {name!r}: call prepare(dataset) first")
        return self.stimuli[name]


def _density_at_fixations(
    points: Float[Tensor, "N 2"], others: Bool[Tensor, "N N"], extent: Tensor, sigma: float
) -> Float[Tensor, " N"]:
    """Return, at each fixation, the others' density per pixel, which is whole in the image."""
    kernel = torch.exp(-(points[:, None] - points).square().sum(-1) / (2 * sigma**2))
    edges = torch.stack([-0.5 - points, extent - 0.5 - points]) / sigma
    inside = (torch.special.ndtr(edges[1]) - torch.special.ndtr(edges[0])).prod(1)
    mass = inside * 2 * torch.pi * sigma**2
    density: Tensor = (kernel * others).sum(1) / (others * mass).sum(1)
    return density
