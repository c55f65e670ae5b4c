"""Scores of a batch, and over a data set: shells over `deepsal.metrics.functional`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchmetrics import Metric

from deepsal.metrics import earth_mover, functional, mit_benchmark
from deepsal.metrics.functional import ImageScores, MapBatch
from deepsal.metrics.optimal_maps import optimal_map

DEFAULT_SCORES = ("nss", "cc", "kl", "sim", "auc", "sauc", "ig")
"""The scores in the order in which tables show them."""
OPTIONAL_SCORES = ("emd",)
"""Scores that are slow or need a package of their own: only when asked for."""

SCORE_INPUTS = {
    "nss": ("fixations",),
    "cc": ("density",),
    "kl": ("density",),
    "sim": ("density",),
    "auc": ("fixations",),
    "sauc": ("fixations", "others"),
    "ig": ("fixations", "baseline"),
    "borji": ("fixations",),
    "emd": ("density",),
}
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
    """Which scores, by whose definition, of which map of the predicted density.

    Args:
        protocol: `tuebingen`, today's definitions, or `mit`, the older ones
            (`deepsal.metrics.mit_benchmark`).
        maps: `density` scores the density itself, `optimal` the map of it that is best for each
            score (`deepsal.metrics.optimal_maps`).
        names: the scores; None for all whose inputs are given, without EMD.
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
        known = SCORE_PROTOCOLS[self.protocol]
        if unknown := [name for name in self.names or () if name not in known]:
            raise ValueError(
                f"unknown scores {unknown}; protocol={self.protocol} has {list(known)}"
            )
        if self.emd or "emd" in (self.names or ()):
            earth_mover.load_emd_solver()
            if self.maps == "optimal":
                raise ValueError("score.emd has no optimal map; score it with score.maps=density")

    def __call__(
        self,
        log_density: MapBatch,
        density: MapBatch,
        fixations: MapBatch,
        others: MapBatch | None = None,
        baseline: MapBatch | None = None,
        sigma: float | None = None,
    ) -> dict[str, ImageScores]:
        """Return `{score: (B,)}`; shapes `(B, H, W)`.

        Args:
            log_density: the prediction.
            density: the truth, sums to one.
            fixations: counts.
            others: counts of other images' fixations, which sAUC needs.
            baseline: log density, which IG and sAUC's optimal map need.
            sigma: the truth's blur in pixels, which optimal maps need.

        Raises:
            ValueError: a score was named whose inputs are missing.
        """
        given = {"density": density, "fixations": fixations, "others": others, "baseline": baseline}
        definitions = SCORE_PROTOCOLS[self.protocol]
        able = [n for n in definitions if all(given[need] is not None for need in SCORE_INPUTS[n])]
        names = (
            [n for n in able if n not in OPTIONAL_SCORES] if self.names is None else [*self.names]
        )
        names += ["emd"] if self.emd and "emd" not in names else []
        if missing := [name for name in names if name not in able]:
            raise ValueError(f"{missing} need {[SCORE_INPUTS[name] for name in missing]}")
        if self.maps == "optimal" and sigma is None:
            raise ValueError("optimal maps need sigma, the truth's blur in pixels")
        found = {}
        for name in names:
            values = log_density
            if self.maps == "optimal" and sigma is not None:
                values = optimal_map(name, log_density, sigma, baseline)
            found[name] = definitions[name](values, *(given[need] for need in SCORE_INPUTS[name]))
        return found


def score_images(
    log_density: MapBatch,
    density: MapBatch,
    fixations: MapBatch,
    names: Sequence[str] | None = None,
    others: MapBatch | None = None,
    baseline: MapBatch | None = None,
) -> dict[str, ImageScores]:
    """Every named score of each image, `{name: (B,)}`, as `deepsal.metrics.functional` defines it.

    None names all that have their inputs: `sauc` needs `others`, `ig` a `baseline`.
    """
    return ImageScorer(names=names)(log_density, density, fixations, others, baseline)


class MeanScores(Metric):
    """The mean of each score over all images seen on all ranks.

    Sums and counts are the state, so ranks may hold different numbers of images, also none.
    Undefined scores (images without a fixation) are left out of the mean and counted.
    """

    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self, names: Sequence[str] = ("nss", "cc", "kl")) -> None:
        super().__init__()
        self.names = tuple(names)
        zeros = torch.zeros(len(self.names), dtype=torch.float64)
        self.add_state("total", zeros, dist_reduce_fx="sum")
        self.add_state("count", zeros.clone(), dist_reduce_fx="sum")

    def update(
        self,
        log_density: MapBatch,
        density: MapBatch,
        fixations: MapBatch,
        others: MapBatch | None = None,
        baseline: MapBatch | None = None,
    ) -> None:
        """Add a batch; shapes as in `deepsal.metrics.functional`."""
        values = score_images(log_density, density, fixations, self.names, others, baseline)
        table = torch.stack([values[name] for name in self.names]).double()
        known = ~table.isnan()
        self.total += table.nansum(1)
        self.count += known.sum(1)

    def compute(self) -> dict[str, Tensor]:
        """Return `{score: mean over images}`, NaN where no image had the score."""
        return dict(zip(self.names, (self.total / self.count).float(), strict=True))
