"""pysaliency's side of the benchmark `scores`, in its own environment: seconds per score as JSON.

python -m tests.bench.reference_scores IMAGES
"""

import json
import sys
import time
from collections.abc import Callable

import numpy as np
import pysaliency
from pysaliency.metrics import CC, SIM, MIT_KLDiv

from tests.reference.generate import Given, GivenDensity
from tests.reference.maps import Case, Points, data_dir, fixations, osie_case


def _points(points: Points) -> pysaliency.Fixations:
    return pysaliency.Fixations.create_without_history(
        points[:, 0], points[:, 1], np.zeros(len(points), dtype=int)
    )


def calls(case: Case) -> dict[str, Callable[[], float]]:
    """Return what is timed: everything that does not depend on the score is made before."""
    stimuli = pysaliency.Stimuli([np.zeros((*case.prediction.shape, 3), dtype=np.uint8)])
    here, there = _points(case.points), _points(case.others)
    model, density = Given(case.prediction), GivenDensity(case.prediction)
    baseline = GivenDensity(case.baseline)
    p, truth = case.prediction, case.truth
    return {
        "auc": lambda: model.AUCs(stimuli, here, nonfixations="uniform").mean(),
        "sauc": lambda: model.AUCs(stimuli, here, nonfixations=there).mean(),
        "nss": lambda: model.NSSs(stimuli, here).mean(),
        "cc": lambda: CC(p, truth),
        "sim": lambda: SIM(p, truth),
        "kl": lambda: MIT_KLDiv(p, truth),
        "ig": lambda: density.information_gain(stimuli, here, baseline, average="image"),
    }


def main() -> None:
    """Time each score over the images, after one image that compiles and warms up."""
    folder = data_dir()
    assert folder
    everyone = fixations(folder)
    for call in calls(osie_case(everyone, 0, "subjects")).values():
        call()
    seconds: dict[str, float] = {}
    values: dict[str, list[float]] = {}
    for i in range(int(sys.argv[1])):
        for score, call in calls(osie_case(everyone, i, "subjects")).items():
            began = time.perf_counter()
            value = call()
            seconds[score] = seconds.get(score, 0) + time.perf_counter() - began
            values.setdefault(score, []).append(float(value))
    sys.stdout.write(json.dumps({"seconds": seconds, "values": values}))


if __name__ == "__main__":
    main()
