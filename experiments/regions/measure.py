"""Measure which units follow which regions of images, before and after training.

python experiments/regions/measure.py RUN [RUN …] --data FOLDER [--regions boxes.csv]

RUNs are trainings of one backbone on OSIE and their controls, several seeds of each. Writes
networks.csv (a row per stage, place, measure and kind of network), expected.csv (the differences of
tuned networks from others) and planted.csv (power of the test that calls a unit one that prefers a
region).

Letters in shapes: S seeds, N images, U units of a stage, K places, R labels of regions, (H, W) an
image, (h, w) the map of a stage.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
import yaml
from numpy.typing import NDArray
from scipy.stats import false_discovery_control
from torch import Tensor, nn
from torch.nn.functional import interpolate

from deepsal.data import SaliencyDataModule, Sample, osie
from deepsal.data.formats.region_sets import RegionSet, read_region_set
from deepsal.models import STAGES, backbone_from_checkpoint, build_backbone
from deepsal.statistics import crossed_bootstrap, holm_correction

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
FOLDER = Path(__file__).parent
NETWORKS = ("before", "random", "shuffled_fixations", "other_task", "tuned")
COMPARED = (
    ("tuned", "before"),
    ("tuned", "shuffled_fixations"),
    ("tuned", "other_task"),
    ("before", "random"),
)
HALF_OF_DENSITY = 0.5
"""The most fixated pixels that hold so much of the density are fixated regions."""
TOP = 10
"""Number of units in the mean of the best, as in the paper."""
HIGH = 1.5
"""Mean response at fixations above which the paper counts a unit."""
ALARMS = 0.05
"""Expected share of false ones among the units that are called."""
SHARES = ("above", "prefers", "avoids", "misplaced")
SIGNS = 10_000
DETECTED = 2.8
"""Effects of so many standard errors are found in 80 % of studies, at p < .05."""
PLANTED_STRENGTHS = (0.0, 0.5, 1.0, 2.0, 4.0)
PLANTED_SHARE = 0.1
PLANTED_DRAWS = 10


class Responses(NamedTuple):
    """Mean standardised responses of the units of one stage at K places, and their change.

    The places: R regions, other fixated regions, the background; then the fixations in the R
    regions, outside of all, and all. NaN where an image has no such place.
    """

    z: FloatArray
    """(N, U, K)."""
    misplaced: FloatArray
    """(N, U, K), at the places of the image before."""
    change: FloatArray
    """(N, U), 1 − correlation with the map before training; NaN for a constant map."""


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
    results, planted = measure_networks(groups, samples, regions)
    for name, table in (*result_tables(results, regions.labels).items(), ("planted", planted)):
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


def place_weights(sample: Sample, regions: RegionSet) -> Tensor:
    """Return weights over pixels whose sums are means over the K places, (K, H, W).

    Other fixated regions are outside of all regions, and among the pixels of highest density that
    hold half of the density. The rest is background. See `Responses` for the order.
    """
    masks = torch.from_numpy(regions.masks(sample.name, sample.size)).float()
    outside = 1 - masks.amax(0, keepdim=True)
    density, order = sample.density.flatten().double().sort(descending=True)
    fixated = torch.zeros(len(order))
    fixated[order[: int((density.cumsum(0) < HALF_OF_DENSITY).sum()) + 1]] = 1
    fixated = fixated.view_as(outside)
    at_fixations = torch.cat([masks, outside, torch.ones_like(outside)]) * sample.fixations
    weights = torch.cat([masks, outside * fixated, outside * (1 - fixated), at_fixations])
    return weights / weights.sum((1, 2), keepdim=True)


@torch.no_grad()
def measure_networks(
    groups: Mapping[str, Sequence[nn.Module]], samples: Sequence[Sample], regions: RegionSet
) -> tuple[dict[str, dict[str, list[Responses]]], pd.DataFrame]:
    """Return the responses, `{stage: {kind of network: [of each seed]}}`, and the planted units.

    Args:
        groups: networks of each kind, in eval mode; the first kind is `before`, with one network.
        samples: N images of one size.
        regions: the R regions; every image may lack some.
    """
    before = [groups["before"][0](sample.image[None]) for sample in samples]
    results: dict[str, dict[str, list[Responses]]] = {stage: {} for stage in STAGES}
    of_images: dict[str, list[Tensor]] = {stage: [] for stage in STAGES}
    for sample, outputs in zip(samples, before, strict=True):
        weights = place_weights(sample, regions)
        for stage in STAGES:
            of_images[stage].append(reduce_weights(weights, outputs[stage][0]))
    grids = {stage: torch.stack(parts) for stage, parts in of_images.items()}
    size = samples[0].size
    for kind, networks in groups.items():
        for network in networks:
            rows: dict[str, list[tuple[FloatArray, ...]]] = {stage: [] for stage in STAGES}
            for n, sample in enumerate(samples):
                for stage, output in network(sample.image[None]).items():
                    maps, at = output[0].double(), torch.cat([grids[stage][n], grids[stage][n - 1]])
                    own, misplaced = standardised_means(maps, at, size).chunk(2, 1)
                    change = 1 - correlate(maps, before[n][stage][0].double())
                    rows[stage].append((own.numpy(), misplaced.numpy(), change.numpy()))
            for stage, of_stage in rows.items():
                parts = (np.stack(part) for part in zip(*of_stage, strict=True))
                results[stage].setdefault(kind, []).append(Responses(*parts))
        print(f"networks that are measured: {len(networks)}, {kind}", flush=True)
    planted = [
        {"stage": stage, "place": label, **row}
        for stage in STAGES
        for k, label in enumerate(regions.labels)
        for row in plant_units(
            [of[stage][0].double() for of in before],
            results[stage]["before"][0].misplaced,
            grids[stage].roll(1, 0)[:, [k, len(regions.labels)]],
            k,
            size,
        )
    ]
    return results, pd.DataFrame(planted)


def plant_units(
    maps: Sequence[Tensor],
    misplaced: FloatArray,
    grids: Tensor,
    region: int,
    size: tuple[int, int],
) -> Iterator[dict[str, float]]:
    """Yield how often units that follow a region are called, for each strength.

    A planted unit is a unit before training with the region of another image added to its
    standardised map: real noise, and a region that it cannot know. A tenth of the stage's units
    are planted, in several draws.

    Args:
        maps: (U, h, w) of each of N images.
        misplaced: (N, U, K), see `Responses`.
        grids: (N, 2, h, w), weights of the region and of other fixated regions, misplaced.
        region: index of the region in `misplaced`.
        size: (H, W).
    """
    regions = (misplaced.shape[2] - 4) // 2
    without = misplaced[..., region] - misplaced[..., regions]
    random = np.random.default_rng(0)
    count = max(1, round(PLANTED_SHARE * without.shape[1]))
    for strength in PLANTED_STRENGTHS:
        z = []
        for of, at in zip(maps, grids, strict=True):
            deviation = of.flatten(1).std(1).clamp(min=1e-12)[:, None, None]
            signal = (at[0] / at[0].max()).nan_to_num()
            z.append(standardised_means(of / deviation + strength * signal, at, size))
        means = torch.stack(z).numpy()
        with_signal = means[..., 0] - means[..., 1]
        detected, alarms = [], []
        for _ in range(PLANTED_DRAWS):
            planted = np.zeros(without.shape[1], np.bool_)
            planted[random.choice(len(planted), count, replace=False)] = True
            prefers, avoids = call_units(np.where(planted, with_signal, without))
            detected.append(prefers[planted].mean())
            alarms.append((prefers | avoids)[~planted].mean())
        yield {
            "strength": strength,
            "preference": float(np.nanmean(with_signal) - np.nanmean(without)),
            "power": float(np.mean(detected)),
            "false_alarms": float(np.mean(alarms)),
        }


def reduce_weights(weights: Tensor, response: Tensor) -> Tensor:
    """Return weights over the map that give the same means as those over the enlarged map.

    Args:
        weights: (K, H, W).
        response: (U, h, w).

    Returns:
        (K, h, w), float64: Aᵀ M B for the enlargement A x Bᵀ of a map x and the weights M.
    """
    rows, columns = enlargement(weights.shape[1:], response.shape[1:])
    return rows.T @ weights.double() @ columns


def standardised_means(response: Tensor, grids: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the means of the enlarged and standardised maps at places, (U, K).

    Each map is enlarged bilinearly to the image, and has mean 0 and variance 1 over its pixels, as
    in NSS. A constant map is 0. Nothing is enlarged: means and variance of A x Bᵀ follow from x.

    Args:
        response: (U, h, w), float64.
        grids: (K, h, w), see `reduce_weights`.
        size: (H, W).
    """
    rows, columns = enlargement(size, response.shape[1:])
    mean = torch.einsum("uij,i,j->u", response, rows.mean(0), columns.mean(0))
    centred = response - mean[:, None, None]
    inner = (rows.T @ rows / len(rows)) @ centred @ (columns.T @ columns / len(columns))
    deviation = (inner * centred).sum((1, 2)).clamp(min=0).sqrt()
    constant = deviation <= 1e-6 * response.abs().amax((1, 2))
    means = torch.einsum("uij,kij->uk", centred, grids) / deviation[:, None]
    return torch.where(constant[:, None] & grids.isfinite().all(2).all(1), 0.0, means)


def enlargement(image: Sequence[int], small: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return the matrices (H, h) and (W, w) of bilinear enlargement of a map to an image."""
    matrices = []
    for length, count in zip(image, small, strict=True):
        unit_maps = torch.eye(count, dtype=torch.float64)[None]
        matrices.append(interpolate(unit_maps, length, mode="linear", align_corners=False)[0].T)
    return matrices[0], matrices[1]


def correlate(first: Tensor, second: Tensor) -> Tensor:
    """Return the correlation over positions of each unit's maps, (U,); NaN for a constant map."""
    one, two = (x.flatten(1) - x.flatten(1).mean(1, keepdim=True) for x in (first, second))
    correlation: Tensor = (one * two).sum(1) / (one.norm(dim=1) * two.norm(dim=1))
    return correlation


def preference_test(preference: FloatArray, seed: int = 0) -> FloatArray:
    """Return p of no preference for each unit, by random signs of images, (U,).

    Two-sided; the signs are the same for all units. Exact if the signs of the images'
    preferences are symmetric and independent.

    Args:
        preference: (N, U), response in the region minus that in other fixated regions; images
            with NaN are left out.
        seed: of the signs.
    """
    values = preference[np.isfinite(preference).all(1)]
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], (SIGNS, len(values)))
    exceed = np.abs(signs @ values) >= np.abs(values.sum(0)) * (1 - 1e-12)
    p: FloatArray = (1 + exceed.sum(0)) / (1 + SIGNS)
    return p


def call_units(preference: FloatArray) -> tuple[BoolArray, BoolArray]:
    """Return which units prefer a region and which avoid it, (U,) each.

    The false discovery rate of both together is `ALARMS` (Benjamini & Hochberg 1995).

    Args:
        preference: (N, U), see `preference_test`.
    """
    called = false_discovery_control(preference_test(preference)) < ALARMS
    mean = np.nanmean(preference, axis=0)
    return called & (mean > 0), called & (mean < 0)


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
    kinds: Mapping[str, Sequence[Responses]], labels: Sequence[str]
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
    z = {kind: np.stack([of.z for of in seeds]) for kind, seeds in kinds.items()}
    top = {
        place: {
            kind: np.stack([best_units_mean(seed[..., regions + 2 + k]) for seed in of])
            for kind, of in z.items()
        }
        for k, place in enumerate((*labels, "elsewhere", "all"))
    }
    for k, (place, values) in enumerate(top.items()):
        yield place, "top", values
        response = {kind: np.nanmean(of[..., regions + 2 + k], 1) for kind, of in z.items()}
        yield place, "above", {kind: (of > HIGH).astype(float) for kind, of in response.items()}
    for one, two in combinations((*labels, "elsewhere"), 2):
        differences = {kind: difference_of_means(top[one][kind], top[two][kind]) for kind in kinds}
        yield f"{one} - {two}", "top", differences
    changes = {
        kind: np.stack([np.nanmean(of.change, axis=0) for of in seeds])
        for kind, seeds in kinds.items()
    }
    nss = {kind: (of[..., -1] - z["before"][..., -1]).mean(1) for kind, of in z.items()}
    for k, label in enumerate(labels):
        calls: dict[str, dict[str, FloatArray]] = {"prefers": {}, "avoids": {}, "misplaced": {}}
        for kind, seeds in kinds.items():
            own = [call_units(of.z[..., k] - of.z[..., regions]) for of in seeds]
            other = [call_units(of.misplaced[..., k] - of.misplaced[..., regions]) for of in seeds]
            calls["prefers"][kind] = np.stack([prefers for prefers, _ in own]).astype(float)
            calls["avoids"][kind] = np.stack([avoids for _, avoids in own]).astype(float)
            calls["misplaced"][kind] = np.stack([prefers for prefers, _ in other]).astype(float)
        for measure, values in calls.items():
            yield label, measure, values
        followers = calls["prefers"]["before"][0] > 0
        for measure, values in (("follower_change", changes), ("follower_nss", nss)):
            yield (
                label,
                measure,
                {
                    kind: of[:, followers] - np.nanmean(of[:, ~followers], 1, keepdims=True)
                    for kind, of in values.items()
                    if kind != "random"
                },
            )


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
    results: Mapping[str, Mapping[str, Sequence[Responses]]], labels: Sequence[str]
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
                low, high = interval.low, interval.high
                row = {"difference": interval.estimate, "low": low, "high": high, "p": p}
                seen = DETECTED * (high - low) / 3.92
                differences.append(
                    {**key, "network": kind, "minus": minus, **row, "smallest_seen": seen}
                )
    expected = pd.DataFrame(differences)
    expected["p"] = expected.groupby(["measure", "minus"])["p"].transform(
        lambda p: holm_correction(p.to_numpy())
    )
    return {"networks": pd.DataFrame(networks), "expected": expected}


if __name__ == "__main__":
    main()
