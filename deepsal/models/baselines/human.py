"""The human ceiling by one kernel: a bandwidth and a centre weight for all images."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from typing_extensions import override

from deepsal.data.batch import MapBatch
from deepsal.data.dataset import Stimulus
from deepsal.models.baselines.fixation_kernels import mass_inside
from deepsal.models.baselines.observer_ceiling import (
    ObserverCeiling,
    extent_of,
    gaussian_maps,
    scaled_points,
)

HUMAN_BANDWIDTHS = (0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0)
CENTRE_WEIGHTS = (0.01, 0.03, 0.1, 0.2, 0.4)


class HumanCeiling(ObserverCeiling):
    """Kernel density of other people's fixations on the same image: the human ceiling.

    It is (1 − w) · Gaussian kernel density of the *other* people's fixations + w · centre prior.
    Where they are None, the bandwidth and w are those of `HUMAN_BANDWIDTHS` and `CENTRE_WEIGHTS`
    with the largest leave-one-person-out likelihood of the fixations on the first 500 training
    images. Test fixations choose nothing.

    Args:
        bandwidth: standard deviation of the kernel as a multiple of the image's blur.
        centre_weight: w.

    Attributes:
        bandwidth, centre_weight: those in use, after `prepare`.
    """

    def __init__(self, bandwidth: float | None = None, centre_weight: float | None = None) -> None:
        super().__init__()
        self.bandwidth = bandwidth
        self.centre_weight = centre_weight
        self.source: dict[str, str] = {}

    @override
    def settings(self) -> dict[str, Any]:
        """Return bandwidth, weight, the images that chose them, and the centre prior's settings."""
        chosen = {"bandwidth": self.bandwidth, "centre_weight": self.centre_weight}
        return {**chosen, **self.source, "centre": self.centre_prior.settings()}

    @override
    def densities(
        self, stimulus: Stimulus, predicting: Bool[Tensor, "V N"], size: tuple[int, int]
    ) -> MapBatch:
        assert self.bandwidth is not None
        assert self.centre_weight is not None
        points, scale = scaled_points(stimulus, size)
        sigma = self.bandwidth * self.blur_of(stimulus) * scale
        kernels = gaussian_maps(points, predicting, size, sigma)
        centre = self.centre_density(stimulus.name, size)
        return (1 - self.centre_weight) * kernels + self.centre_weight * centre

    @override
    def fit(self, stimuli: Sequence[Stimulus]) -> None:
        """Choose the bandwidth and weight with the largest leave-one-person-out likelihood."""
        if self.bandwidth is not None and self.centre_weight is not None:
            return
        if not stimuli:
            raise ValueError(
                "a ceiling is fitted to training images that two people or more saw, and there is "
                "none; set network.bandwidth (a multiple of the blur) and network.centre_weight"
            )
        bandwidths = HUMAN_BANDWIDTHS if self.bandwidth is None else (self.bandwidth,)
        choices = CENTRE_WEIGHTS if self.centre_weight is None else (self.centre_weight,)
        weights = torch.tensor(choices, dtype=torch.float64)
        likelihood = torch.zeros(len(bandwidths), len(weights), dtype=torch.float64)
        for stimulus in stimuli:
            observers = torch.from_numpy(stimulus.observers)
            points = torch.from_numpy(stimulus.fixations)
            others = observers[:, None] != observers
            centre = self.centre_at_fixations(stimulus)
            for b, bandwidth in enumerate(bandwidths):
                sigma = bandwidth * self.blur_of(stimulus)
                density = _density_at_fixations(points, others, extent_of(stimulus), sigma)
                mixed = (1 - weights) * density[:, None] + weights * centre[:, None]
                likelihood[b] += mixed.log().sum(0)
        best = divmod(int(likelihood.argmax()), len(weights))
        self.bandwidth, self.centre_weight = bandwidths[best[0]], choices[best[1]]
        self.source = {"images": f"{len(stimuli)} training images"}


def _density_at_fixations(
    points: Float[Tensor, "N 2"], others: Bool[Tensor, "N N"], extent: Tensor, sigma: float
) -> Float[Tensor, " N"]:
    """Return the others' density at each fixation, per pixel; it sums to 1 over the image."""
    kernel = torch.exp(-(points[:, None] - points).square().sum(-1) / (2 * sigma**2))
    inside = mass_inside(points, points.new_full((len(points),), sigma), extent)
    mass = inside * 2 * torch.pi * sigma**2
    density: Tensor = (kernel * others).sum(1) / (others * mass).sum(1)
    return density
