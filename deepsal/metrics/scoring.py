"""Scores of a batch and their means over a data set, on top of `deepsal.metrics.functional`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchmetrics import Metric

from deepsal.data.batch import GroundTruth
from deepsal.metrics import earth_mover, functional, mit_benchmark
from deepsal.metrics.functional import ImageScores, MapBatch
from deepsal.metrics.optimal_maps import optimal_map

DEFAULT_SCORES = ("nss", "cc", "kl", "sim", "auc", "sauc", "ig")
"""Scores of every test, in the order of columns in `scores.csv`."""
OPTIONAL_SCORES = ("emd",)
"""Scores that are slow or need a package of their own: only on request."""

SCORE_INPUTS = {
    "nss": ("fixations",),
    "cc": ("density",),
    "kl": ("density",),
    "sim": ("density",),
    "auc": ("fixations",),
    "sauc": ("fixations", "other_fixations"),
    "ig": ("fixations", "baseline_log_density"),
    "borji": ("fixations",),
    "emd": ("density",),
}
"""Fields of `GroundTruth` that each score needs."""
SCORES_OF_MASKED_MAPS = ("nss", "cc", "kl", "sim")
"""Scores of images with padding, by today's definitions."""
TUEBINGEN_SCORES: Mapping[str, Callable[..., ImageScores]] = {
    **{name: getattr(functional, name) for name in DEFAULT_SCORES if name != "ig"},
    "ig": functional.information_gain,
    "emd": functional.emd,
}
SCORE_PROTOCOLS: Mapping[str, Mapping[str, Callable[..., ImageScores]]] = {
    "tuebingen": TUEBINGEN_SCORES,
    "mit": {
        **TUEBINGEN_SCORES,
        "nss": mit_benchmark.nss_sample_std,
        "sim": mit_benchmark.sim_stretched,
        "auc": mit_benchmark.auc_judd,
        "sauc": mit_benchmark.auc_shuffled,
        "borji": mit_benchmark.auc_borji,
    },
}
MAP_KINDS = ("density", "optimal")


@dataclass(frozen=True)
class ImageScorer:
    """Score predictions by a protocol's definitions, as densities or as optimal maps.

    Args:
        protocol: `tuebingen`, today's definitions, or `mit`, the older ones
            (`deepsal.metrics.mit_benchmark`).
        maps: `density` scores the density itself, `optimal` the map of it that is best for each
            score (`deepsal.metrics.optimal_maps`).
        names: the scores; None for all whose inputs are at hand, without EMD.
        emd: also the earth mover's distance.

    Raises:
        ValueError: an unknown protocol, kind of map, or score; the message lists the choices.
        ImportError: EMD without the package that solves it.
    """

    protocol: str = "tuebingen"
    maps: str = "density"
    names: Sequence[str] | None = None
    emd: bool = False

    def __post_init__(self) -> None:
        for value, choices, option in (
            (self.protocol, tuple(SCORE_PROTOCOLS), "protocol"),
            (self.maps, MAP_KINDS, "maps"),
        ):
            if value not in choices:
                raise ValueError(f"score.{option}={value}: the choices are {list(choices)}")
        choices = tuple(SCORE_PROTOCOLS[self.protocol])
        if unknown := [name for name in self.names or () if name not in choices]:
            raise ValueError(
                f"unknown scores {unknown}; protocol={self.protocol} has {list(choices)}"
            )
        if self.emd or "emd" in (self.names or ()):
            earth_mover.load_emd_solver()
            if self.maps == "optimal":
                raise ValueError("score.emd has no optimal map; score it with score.maps=density")

    def __call__(self, log_density: MapBatch, truth: GroundTruth) -> dict[str, ImageScores]:
        """Return `{score: (B,)}` of B predictions, `(B, H, W)`.

        Raises:
            ValueError: a score was named whose inputs the truth does not have, or optimal maps
                without the truth's `sigma`.
        """
        if self.maps == "optimal" and truth.sigma is None:
            raise ValueError("optimal maps need sigma, the standard deviation of the truth's blur")
        inputs = {
            name: [getattr(truth, field) for field in SCORE_INPUTS[name]]
            for name in SCORE_PROTOCOLS[self.protocol]
        }
        names = self.names
        if names is None:
            complete = (n for n, maps in inputs.items() if all(m is not None for m in maps))
            names = [name for name in complete if name not in OPTIONAL_SCORES]
        masked, scores = truth.mask is not None, {}
        if masked and (set(names) - {*SCORES_OF_MASKED_MAPS} or self.protocol == "mit"):
            raise ValueError(f"padded images have the scores {', '.join(SCORES_OF_MASKED_MAPS)}")
        for name in dict.fromkeys([*names, *(["emd"] if self.emd else [])]):
            if any(values is None for values in inputs[name]):
                raise ValueError(f"{name} needs {' and '.join(SCORE_INPUTS[name])}")
            values = log_density
            if self.maps == "optimal" and truth.sigma is not None:
                values = optimal_map(name, log_density, truth.sigma, truth.baseline_log_density)
            options = {"mask": truth.mask} if masked and name in ("nss", "cc") else {}
            scores[name] = SCORE_PROTOCOLS[self.protocol][name](values, *inputs[name], **options)
        return scores


class MeanScores(Metric):
    """Mean of each score over all images of all ranks.

    Sums and counts are the state, so ranks may hold different numbers of images, also none.
    NaN (such as the NSS of an image without a fixation) is left out of the mean.

    Args:
        names: the scores, by today's definitions.
    """

    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self, names: Sequence[str] = ("nss", "cc", "kl")) -> None:
        super().__init__()
        self.names = tuple(names)
        self.scorer = ImageScorer(names=self.names)
        zeros = torch.zeros(len(self.names), dtype=torch.float64)
        self.add_state("total", zeros, dist_reduce_fx="sum")
        self.add_state("count", zeros.clone(), dist_reduce_fx="sum")

    def update(self, log_density: MapBatch, truth: GroundTruth) -> None:
        """Add a batch of predictions, `(B, H, W)`, and their ground truth."""
        values = self.scorer(log_density, truth)
        table = torch.stack([values[name] for name in self.names]).double()
        self.total += table.nansum(1)
        self.count += (~table.isnan()).sum(1)

    def compute(self) -> dict[str, Tensor]:
        """Return `{score: mean over images}`, NaN where no image had the score."""
        return dict(zip(self.names, (self.total / self.count).float(), strict=True))
