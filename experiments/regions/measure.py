"""Measure which units follow which regions of images, before and after training.

python experiments/regions/measure.py RUN [RUN …] --data FOLDER [--regions boxes.csv]

RUNs are trainings of one backbone on OSIE and their controls, several seeds of each. Writes
networks.csv (a row per stage, place, measure and kind of network), expected.csv (the differences of
tuned networks from others) and planted.csv (power of the test that calls a unit one that prefers a
region).

Letters in shapes: S seeds, N images, U units of a stage, R labels of regions.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import yaml
from torch import nn

from deepsal.data import SaliencyDataModule, osie
from deepsal.data.formats.region_sets import read_region_set
from deepsal.models import backbone_from_checkpoint, build_backbone
from deepsal.statistics import crossed_bootstrap, holm_correction
from experiments.regions.preference import call_units, planted_table
from experiments.regions.unit_responses import (
    FloatArray,
    Responses,
    measure_networks,
    place_grids,
    stage_maps,
)

FOLDER = Path(__file__).parent
NETWORKS = ("before", "random", "shuffled_fixations", "other_task", "tuned")
COMPARED = (
    ("tuned", "before"),
    ("tuned", "shuffled_fixations"),
    ("tuned", "other_task"),
    ("before", "random"),
)
TOP = 10
"""Number of units in the mean of the best, as in the paper."""
HIGH = 1.5
"""Mean response at fixations above which the paper counts a unit."""
SHARES = ("above", "prefers", "avoids", "misplaced")


def main() -> None:
    """Measure the runs and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run folders")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds osie/")
    parser.add_argument(
        "--regions", type=Path, default=FOLDER / "boxes.csv", help="boxes, or folder of labels"
    )
    parser.add_argument("--to", type=Path, default=FOLDER, help="output folder")
    arguments = parser.parse_args()
    groups = group_networks(arguments.runs)
    if lacking := [kind for kind, networks in groups.items() if not networks]:
        parser.error(f"RUNs lack {lacking[0]}; add the runs of experiments/surround of all kinds")
    images = SaliencyDataModule(osie(arguments.data)).images["test"]
    samples = [images[i] for i in range(len(images))]
    regions = read_region_set(arguments.regions)
    before = stage_maps(groups["before"][0], samples)
    grids = place_grids(samples, regions, before)
    results = measure_networks(groups, samples, before, grids)
    tables = result_tables(results, regions.labels)
    tables["planted"] = planted_table(before, grids, results, regions.labels, samples[0].size)
    for name, table in tables.items():
        table.to_csv(arguments.to / f"{name}.csv", index=False, float_format="%.4g")


def group_networks(runs: Sequence[Path]) -> dict[str, list[nn.Module]]:
    """Return the networks of each kind: those of the runs, before training, and random weights."""
    groups: dict[str, list[nn.Module]] = {name: [] for name in NETWORKS}
    for run in runs:
        config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
        name, weights, model = (config["backbone"].get(k) for k in ("name", "weights", "model"))
        before = build_backbone(name, weights, model).eval()
        groups["before"] = [before]
        kind = config["control"] or "tuned"
        groups[kind].append(backbone_from_checkpoint(before, run / "checkpoints" / "best.ckpt"))
        if kind == "tuned":
            torch.manual_seed(config["seed"])
            groups["random"].append(build_backbone(name, None, model).eval())
    return groups


def best_units_mean(z: FloatArray) -> FloatArray:
    """Return each image's mean over the `TOP` units that are best on other images, (N,).

    The units of the images with even ranks are chosen on those with odd ranks, and the reverse.

    Args:
        z: (N, U), responses at one place; NaN for an image without it.
    """
    means = np.full(len(z), np.nan)
    images = np.flatnonzero(np.isfinite(z).all(1))
    for half, other in ((images[::2], images[1::2]), (images[1::2], images[::2])):
        best = z[other].mean(0).argsort()[-TOP:]
        means[half] = z[np.ix_(half, best)].mean(1)
    return means


def measure_stage(
    kinds: Mapping[str, Responses], labels: Sequence[str]
) -> Iterator[tuple[str, str, dict[str, FloatArray]]]:
    """Yield a place, a measure, and its values in each kind of network.

    `top`: (S, N), response at fixations of the best units; for two places, their difference.
    `above`: (S, U), 1 for a unit whose mean response at the fixations is above `HIGH`.
    `prefers`, `avoids`, `misplaced`: (S, U), 1 for a unit that is called; misplaced: that prefers
    the region of another image. `follower_change`, `follower_nss`: (S, F), change of the map
    and of NSS of the F units that prefer the region before training, minus the mean of the others.

    Args:
        kinds: responses of one stage.
        labels: the R regions.
    """
    regions = len(labels)
    top: dict[str, dict[str, FloatArray]] = {}
    for k, place in enumerate((*labels, "elsewhere", "all"), regions + 2):
        z = {kind: of.z[..., k] for kind, of in kinds.items()}
        top[place] = {kind: np.stack([*map(best_units_mean, of)]) for kind, of in z.items()}
        yield place, "top", top[place]
        above = {kind: np.nanmean(of, 1) > HIGH for kind, of in z.items()}
        yield place, "above", {kind: of.astype(float) for kind, of in above.items()}
    for one, two in combinations((*labels, "elsewhere"), 2):
        differences = {kind: difference_of_means(top[one][kind], top[two][kind]) for kind in kinds}
        yield f"{one} - {two}", "top", differences
    nss = {kind: of.z[..., -1] for kind, of in kinds.items()}
    changes = {
        "follower_change": {kind: np.nanmean(of.change, 1) for kind, of in kinds.items()},
        "follower_nss": {kind: (of - nss["before"]).mean(1) for kind, of in nss.items()},
    }
    for k, label in enumerate(labels):
        own = {kind: call_each(of.z[..., k] - of.z[..., regions]) for kind, of in kinds.items()}
        misplaced = {
            kind: call_each(of.misplaced[..., k] - of.misplaced[..., regions])
            for kind, of in kinds.items()
        }
        yield label, "prefers", {kind: prefers for kind, (prefers, _) in own.items()}
        yield label, "avoids", {kind: avoids for kind, (_, avoids) in own.items()}
        yield label, "misplaced", {kind: prefers for kind, (prefers, _) in misplaced.items()}
        followers = own["before"][0, 0] > 0
        for measure, values in changes.items():
            followed = {
                kind: of[:, followers] - np.nanmean(of[:, ~followers], 1, keepdims=True)
                for kind, of in values.items()
                if kind != "random"
            }
            yield label, measure, followed


def call_each(preference: FloatArray) -> FloatArray:
    """Return 1 for the units of each seed that prefer and for those that avoid, (2, S, U).

    Args:
        preference: (S, N, U), see `call_units`.
    """
    return np.stack([call_units(of) for of in preference], 1).astype(float)


def difference_of_means(one: FloatArray, two: FloatArray) -> FloatArray:
    """Return a value of each seed and image whose mean is the difference of two means over images.

    The values are linear in each image (influence values), so resampling them gives the error of
    the difference, for images that have one place, the other, or both.

    Args:
        one: (S, N), NaN where an image lacks the place.
        two: (S, N).
    """
    value = np.full(one.shape, np.nanmean(one) - np.nanmean(two))
    for sign, of in ((1, one), (-1, two)):
        share = np.isfinite(of).mean()
        value += sign * np.nan_to_num(of - np.nanmean(of)) / share
    return value


def result_tables(
    results: Mapping[str, Mapping[str, Responses]], labels: Sequence[str]
) -> dict[str, pd.DataFrame]:
    """Return the tables `networks` and `expected`.

    Intervals are over seeds and images, or over seeds and units (`crossed_bootstrap`).
    `smallest_seen` is the difference that would be found in 80 % of such studies. p is adjusted
    over the rows of one measure and comparison by Holm's method.

    Args:
        results: see `measure_networks`.
        labels: the R regions.
    """
    networks, differences = [], []
    for stage, kinds in results.items():
        for place, measure, values in measure_stage(kinds, labels):
            key = {"stage": stage, "place": place, "measure": measure}
            for kind, of in values.items():
                value, low, high, count = crossed_bootstrap(of, np.nanmean).interval
                if measure in SHARES:
                    low, high = np.clip((low, high), 0, 1)
                networks.append(
                    {**key, "network": kind, "value": value, "low": low, "high": high, "n": count}
                )
            for kind, minus in COMPARED if measure != "misplaced" else ():
                if minus not in values:
                    continue
                change = values[kind] - values[minus]
                interval, p = crossed_bootstrap(change, np.nanmean)
                row = {"difference": interval.estimate, "low": interval.low, "high": interval.high}
                row |= {"p": p, "smallest_seen": interval.smallest_seen}
                differences.append({**key, "network": kind, "minus": minus, **row})
    expected = pd.DataFrame(differences)
    expected["p"] = expected.groupby(["measure", "minus"])["p"].transform(
        lambda p: holm_correction(p.to_numpy())
    )
    return {"networks": pd.DataFrame(networks), "expected": expected}


if __name__ == "__main__":
    main()
