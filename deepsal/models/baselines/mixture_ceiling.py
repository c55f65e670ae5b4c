"""The human ceiling by a mixture of adaptive kernels, weighted for each image."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from typing_extensions import override

from deepsal.data.batch import MapBatch
from deepsal.data.dataset import Stimulus
from deepsal.models.baselines.fixation_kernels import (
    adaptive_bandwidths,
    fit_mixture_weights,
    held_out_densities,
    mixture_map,
)
from deepsal.models.baselines.observer_ceiling import ObserverCeiling, extent_of, scaled_points

MIXTURE_BANDWIDTHS = (0.35, 0.7, 1.4, 2.8)
CONCENTRATIONS = (10.0, 30.0, 100.0, 300.0, 1000.0)
MAX_FITTED_IMAGES = 100


class MixtureCeiling(ObserverCeiling):
    """Mixture of kernel densities of other people's fixations on the same image.

    It is Σ w_k · adaptive kernel density k of the *other* people's fixations + w_c · centre prior +
    w_u · uniform. Bandwidths are small where fixations are dense (`adaptive_bandwidths`). The
    weights differ between images.

    Neither the kernels nor the weights that predict a person depend on that person's fixations. The
    weights are fitted to the fixations of the others, each of whom is predicted from the rest:
    leave-one-person-out, nested. Split-half scores fit them within the half that predicts. Weights
    that are fitted to the very fixations that they predict have seen the person, and make the
    ceiling too high (`experiments/ceiling`).

    The few fixations of one image decide its weights poorly. So the weights have a Dirichlet prior,
    whose mean is the mixture of the data set. Without two people to fit to, they are that mean.

    Agrawal, Hollman & Kümmerer 2026, "Raising the Ceiling: Better Empirical Fixation Densities for
    Saliency Benchmarking", arXiv:2605.03885, mix one adaptive kernel density, the centre prior, the
    uniform density and a saliency model, and optimise all parameters for each image by
    leave-one-subject-out cross-validation. Here kernels of several bandwidths are mixed, without a
    saliency model.

    The mean of the prior is fitted to the first 100 training images that two people or more saw, by
    leave-one-person-out likelihood. The concentration is that of `CONCENTRATIONS` with the largest
    nested likelihood on the same images.

    Args:
        bandwidths: K common standard deviations of the kernels as multiples of the image's blur.
        concentration: number of fixations that the prior counts as; None to choose it.

    Attributes:
        concentration: the one in use, after `prepare`.
        prior: (K + 2,), mean weights of the kernels, the centre prior and the uniform density.
    """

    def __init__(
        self,
        bandwidths: Sequence[float] = MIXTURE_BANDWIDTHS,
        concentration: float | None = None,
    ) -> None:
        super().__init__()
        self.bandwidths = tuple(bandwidths)
        self.concentration = concentration

    @override
    def settings(self) -> dict[str, Any]:
        """Return bandwidths, prior, concentration, images, and the weights of each test image.

        The weights of a test image are those fitted to all of its fixations, each person predicted
        from the others. Those that score a person are fitted without that person.
        """
        names = [*(f"kernel {b:g}" for b in self.bandwidths), "centre", "uniform"]
        everyone = [torch.ones(1, len(s.observers), dtype=torch.bool) for s in self.test_images]
        pairs = zip(self.test_images, everyone, strict=True)
        weights = torch.cat([self.fit_weights(stimulus, who) for stimulus, who in pairs])

        def named(values: Tensor) -> dict[str, float]:
            return {n: round(value, 4) for n, value in zip(names, values.tolist(), strict=True)}

        images = zip(self.test_images, weights, strict=True)
        return {
            "bandwidths": list(self.bandwidths),
            "concentration": self.concentration,
            "images": self.source,
            "prior_weights": named(self.prior),
            "mean_weights": named(weights.mean(0)),
            "image_weights": {stimulus.name: named(values) for stimulus, values in images},
            "centre": self.centre_prior.settings(),
        }

    @override
    def densities(
        self, stimulus: Stimulus, predicting: Bool[Tensor, "V N"], size: tuple[int, int]
    ) -> MapBatch:
        weights = self.fit_weights(stimulus, predicting)
        points, scale = scaled_points(stimulus, size)
        fixations = torch.from_numpy(stimulus.fixations)
        sd = [adaptive_bandwidths(fixations, predicting, h) for h in self._pixels(stimulus)]
        scaled = torch.stack(sd, 1)[..., None] * scale
        kernels = torch.stack(
            [
                mixture_map(points[members], s[:, members], w[:-2], size)
                for members, s, w in zip(predicting, scaled, weights, strict=True)
            ]
        )
        centre, uniform = weights[:, -2:, None, None].float().unbind(1)
        flat = uniform / (size[0] * size[1])
        return kernels + centre * self.centre_density(stimulus.name, size) + flat

    def fit_weights(
        self, stimulus: Stimulus, predicting: Bool[Tensor, "V N"]
    ) -> Float[Tensor, "V K"]:
        """Fit the weights of the components to each set of an image's fixations.

        Each person of a set is predicted from the others of the set. Nobody else is read.
        """
        assert self.concentration is not None
        components, counted = self.components(stimulus, predicting)
        return fit_mixture_weights(components, counted, self.prior, self.concentration)

    def components(
        self, stimulus: Stimulus, predicting: Bool[Tensor, "V N"]
    ) -> tuple[Float[Tensor, "V N K"], Bool[Tensor, "V N"]]:
        """Return the components that predict each fixation from the other people of each set.

        Returns:
            The density of each component at each fixation, per pixel (NaN where a set has nobody
            else); and the members of each set that others of the set predict.
        """
        kernels = held_out_densities(
            torch.from_numpy(stimulus.fixations),
            torch.from_numpy(stimulus.observers),
            predicting,
            extent_of(stimulus),
            self._pixels(stimulus),
        )
        centre = self.centre_at_fixations(stimulus)
        uniform = (1 / extent_of(stimulus).prod()).expand_as(centre)
        rest = torch.stack([centre, uniform], -1)
        components = torch.cat([kernels, rest.expand(len(kernels), -1, -1)], -1)
        return components, predicting & kernels.isfinite().all(-1)

    @override
    def fit(self, stimuli: Sequence[Stimulus]) -> None:
        """Fit the prior to training images, and choose its concentration."""
        if not stimuli:
            raise ValueError(
                "a ceiling is fitted to training images that two people or more saw, and there is "
                "none; set network=human, network.bandwidth and network.centre_weight"
            )
        held_out, parts = [], []
        for stimulus in stimuli[:MAX_FITTED_IMAGES]:
            observers = torch.from_numpy(stimulus.observers)
            held_out.append(observers == observers.unique()[:, None])
            parts.append(self.components(stimulus, ~held_out[-1]))
        self.source = f"{len(parts)} training images"
        count = len(self.bandwidths) + 2
        scored = torch.cat([part[one] for (part, _), one in zip(parts, held_out, strict=True)])
        every = torch.ones(1, len(scored), dtype=torch.bool)
        even = torch.full((count,), 1 / count, dtype=torch.float64)
        self.prior = fit_mixture_weights(scored[None], every, even, float(count))[0]
        if self.concentration is None:
            likelihoods = {
                c: sum(
                    _held_out_likelihood(*part, one, self.prior, c)
                    for part, one in zip(parts, held_out, strict=True)
                )
                for c in CONCENTRATIONS
            }
            self.concentration = max(likelihoods, key=likelihoods.__getitem__)

    def _pixels(self, stimulus: Stimulus) -> list[float]:
        return [bandwidth * self.blur_of(stimulus) for bandwidth in self.bandwidths]


def _held_out_likelihood(
    components: Float[Tensor, "V N K"],
    counted: Bool[Tensor, "V N"],
    held_out: Bool[Tensor, "V N"],
    prior: Float[Tensor, " K"],
    concentration: float,
) -> float:
    """Return the log likelihood of the held-out fixations under weights of the counted ones."""
    weights = fit_mixture_weights(components, counted, prior, concentration)
    mixed = (components @ weights[..., None])[..., 0]
    return mixed[held_out].log().sum().item()
