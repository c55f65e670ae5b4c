"""How far definitions move a score: OSIE, 120 images, 7 subjects predicted by the other 8.

DEEPSAL_DATA=… python -m tests.reference.differences > tests/reference/differences.md
"""

import sys
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from deepsal.metrics import functional as f
from deepsal.metrics import mit_benchmark as mit
from tests.reference.maps import (
    IMAGES,
    OSIE_SIZE,
    SIGMA,
    Case,
    Points,
    counts,
    data_dir,
    fixations,
    osie_case,
)

PREDICTIONS = ("subjects", "mixed", "centre")
CENTRE = 0.1
"""Weight of the centre map in the mixed prediction."""
COMMAND = "DEEPSAL_DATA=… python -m tests.reference.differences"


def batch(image: object) -> Tensor:
    """Return an image as a float64 batch of one."""
    return torch.as_tensor(image, dtype=torch.float64)[None]


def rows(case: Case, ten: Tensor) -> dict[str, float]:
    """Return every variant of every score of one prediction."""
    p, truth, here = batch(case.prediction), batch(case.truth), batch(counts(case.points))
    log, there = p.log(), batch(counts(case.others))
    found = {
        "AUC exact": f.auc(log, here),
        "AUC-Judd, jitter 1e-7": mit.auc_judd(log, here),
        "AUC-Borji, step .1": mit.auc_borji(log, here),
        "AUC-Borji, step .01": mit.auc_borji(log, here, step=0.01),
        "sAUC exact": f.sauc(log, here, there),
        "sAUC MATLAB, step .1": mit.auc_shuffled(log, here, ten),
        "NSS": f.nss(log, here),
        "NSS, ddof 1, pixels once": mit.nss_sample_std(log, here),
        "NSS on a blurred map (a bug)": (_z(p) * truth).sum((-2, -1)),
        "NSS, mean and std swapped (a bug)": _swapped(p, here),
        "CC": f.cc(log, truth),
        "SIM": f.sim(log, truth),
        "SIM, stretched first": mit.sim_stretched(log, truth),
        **{f"KL, ε {e:g}": _kl(p, truth, e) for e in (2.2204e-16, 1e-7, 1e-6)},
        "IG over the centre map (bit)": f.information_gain(log, here, batch(case.baseline).log()),
    }
    return {name: value.item() for name, value in found.items()}


def case(everyone: list[list[Points]], i: int, prediction: str, sigma: float = SIGMA) -> Case:
    """Return an image's case; `mixed` is the other subjects' map with a part of the centre map."""
    if prediction != "mixed":
        return osie_case(everyone, i, prediction, sigma)
    found = osie_case(everyone, i, "subjects", sigma)
    mixed = (1 - CENTRE) * found.prediction + CENTRE * found.baseline
    return found._replace(prediction=mixed)


def main(images: int = IMAGES) -> None:
    """Print the table as Markdown."""
    folder = data_dir()
    if not folder:
        raise SystemExit("set DEEPSAL_DATA to the folder that holds osie/")
    everyone = fixations(folder)
    means: dict[str, list[float]] = {}
    for prediction in PREDICTIONS:
        cases = (case(everyone, i, prediction) for i in range(images))
        table = [rows(one, _ten(everyone, i)) for i, one in enumerate(cases)]
        for name in table[0]:
            means.setdefault(name, []).append(float(np.mean([row[name] for row in table])))
        for sigma in (16.0, 30.0):
            blurred = (case(everyone, i, prediction, sigma) for i in range(images))
            values = [f.kl(batch(c.prediction).log(), batch(c.truth)).item() for c in blurred]
            means.setdefault(f"KL, blur {sigma:g} px", []).append(float(np.mean(values)))
    kept = [_kept(np.concatenate(image[8:])) for image in everyone[:images]]
    _print(means, float(np.mean(kept)))


def _ten(everyone: Sequence[Sequence[np.ndarray]], i: int) -> Tensor:
    """Return the fixations of ten other images."""
    rest = [j for j in range(len(everyone)) if j != i]
    chosen = np.random.RandomState(i).choice(rest, 10, replace=False)
    return batch(counts(np.concatenate([np.concatenate(everyone[j][8:]) for j in chosen])))


def _z(p: Tensor) -> Tensor:
    return (p - p.mean()) / p.std(correction=0)


def _swapped(p: Tensor, here: Tensor) -> Tensor:
    z = (p - p.std(correction=0)) / p.mean()
    return (z * here).sum((-2, -1)) / here.sum((-2, -1))


def _kl(p: Tensor, truth: Tensor, epsilon: float) -> Tensor:
    return (truth * (epsilon + truth / (p + epsilon)).log()).sum((-2, -1))


def _kept(points: Points) -> float:
    """Return the share of fixations left in a fixation image shrunk by nearest neighbour."""
    image = batch(counts(points))[:, None]
    small = torch.nn.functional.interpolate(image, (256, 256), mode="nearest")
    return (small.sum() / image.sum()).item()


def _print(means: dict[str, list[float]], kept: float) -> None:
    write: Callable[[str], object] = sys.stdout.write
    height, width = OSIE_SIZE
    write(
        f"`{COMMAND}`\n\nOSIE, the first {IMAGES} images at {width}x{height}, 7 subjects predicted "
        f"by the other 8, by these with a weight of {CENTRE:g} on the centre map, and by that map: "
        "the 7 subjects' fixations on the other 119 images. Everything is blurred with "
        f"{SIGMA:g} px and has a floor of 1e-14 of a kernel's peak.\n\nKL charges a map that rules "
        "places out by its ε; mixed with a centre map, which rules out nothing, the same map has "
        "little more than half the KL, and a larger ε changes less. As much depends on the images "
        "and on whether the centre map leaves the image itself out, as it does here.\n"
        "\n| score | other subjects | mixed | centre map |\n|---|---|---|---|\n"
    )
    for name, found in means.items():
        write(f"| {name} | {' | '.join(f'{value:.4f}' for value in found)} |\n")
    write(f"\nA fixation image shrunk to 256x256 by nearest neighbour keeps {kept:.0%}.\n")


if __name__ == "__main__":
    main()
