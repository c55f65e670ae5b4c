"""Write pysaliency.csv: the field's library on the hundred maps. `make reference` runs it.

In an environment of its own: numpy<2.4 (np.trapz), setuptools<81 (pkg_resources),
pysaliency==0.2.22. With DEEPSAL_DATA; the file is replaced only when all is done.
"""

import csv
import os
from itertools import chain
from pathlib import Path

import numpy as np
import pysaliency
from pysaliency.metrics import CC, SIM, MIT_KLDiv

from tests.reference.maps import Case, Image, Points, data_dir, osie, synthetic

FILE = Path(__file__).with_name("pysaliency.csv")
SCORES = ("auc", "sauc", "nss", "cc", "sim", "kl", "ig", "auc32", "sauc32")
"""auc32 and sauc32: of the log density in float32, in which far pixels tie that differ in 64."""


class Given(pysaliency.SaliencyMapModel):  # type: ignore[misc]  # has no types
    """The same map whatever the image."""

    def __init__(self, image: Image) -> None:
        super().__init__(caching=False)
        self.image = image

    def _saliency_map(self, stimulus: object) -> Image:
        return self.image.copy()


class GivenDensity(pysaliency.Model):  # type: ignore[misc]
    """The same log density whatever the image."""

    def __init__(self, image: Image) -> None:
        super().__init__(caching=False)
        with np.errstate(divide="ignore"):
            self.image = np.log(image)

    def _log_density(self, stimulus: object) -> Image:
        return self.image


def values(case: Case) -> dict[str, float]:
    """Return every score of a case, averaged over its fixations."""
    blank = np.zeros((*case.prediction.shape, 3), dtype=np.uint8)
    stimuli = pysaliency.Stimuli([blank])
    here, there = _fixations(case.points), _fixations(case.others)
    model, rounded = Given(case.prediction), Given(_rounded(case.prediction))
    gain = GivenDensity(case.prediction).information_gain(
        stimuli, here, GivenDensity(case.baseline), average="image"
    )
    return {
        "auc": model.AUCs(stimuli, here, nonfixations="uniform").mean(),
        "sauc": model.AUCs(stimuli, here, nonfixations=there).mean(),
        "nss": model.NSSs(stimuli, here).mean(),
        "cc": CC(case.prediction, case.truth),
        "sim": SIM(case.prediction, case.truth),
        "kl": MIT_KLDiv(case.prediction, case.truth),
        "ig": gain,
        "auc32": rounded.AUCs(stimuli, here, nonfixations="uniform").mean(),
        "sauc32": rounded.AUCs(stimuli, here, nonfixations=there).mean(),
    }


def _rounded(density: Image) -> Image:
    """Return the density whose logarithm is a float32."""
    with np.errstate(divide="ignore"):
        logarithm = np.log(density).astype(np.float32)
    rounded: Image = np.exp(logarithm.astype(np.float64))
    return rounded


def _fixations(points: Points) -> pysaliency.Fixations:
    return pysaliency.Fixations.create_without_history(
        points[:, 0], points[:, 1], np.zeros(len(points), dtype=int)
    )


def main() -> None:
    """Score all cases and replace the table."""
    folder = data_dir()
    if not folder:
        raise SystemExit("set DEEPSAL_DATA to the folder that holds osie/")
    partial = FILE.with_suffix(".partial")
    with partial.open("w", newline="") as out:
        table = csv.writer(out, lineterminator="\n")
        table.writerow(["map", *SCORES])
        for case in chain(synthetic(), osie(folder)):
            found = values(case)
            table.writerow([case.name, *(f"{found[score]:.10g}" for score in SCORES)])
    os.replace(partial, FILE)


if __name__ == "__main__":
    main()
