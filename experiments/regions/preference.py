"""Test of the preference of units for a region, and its power by planted units.

Letters in shapes: N images, U units of a stage, (H, W) an image, (h, w) the map of a stage.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.stats import false_discovery_control
from torch import Tensor

from experiments.regions.unit_responses import FloatArray, Responses, standardised_means

ALARMS = 0.05
"""Expected share of false ones among the units that are called."""
SIGNS = 10_000
PLANTED_STRENGTHS = (0.0, 0.5, 1.0, 2.0, 4.0)
PLANTED_SHARE = 0.1
PLANTED_DRAWS = 10


def preference_test(preference: FloatArray) -> FloatArray:
    """Return p of no preference for each unit, by random signs of images, (U,).

    Two-sided; the signs are the same for all units. Exact if the signs of the images'
    preferences are symmetric and independent.

    Args:
        preference: (N, U), response in the region minus that in other fixated regions; images
            with NaN are left out.
    """
    values = preference[np.isfinite(preference).all(1)]
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (SIGNS, len(values)))
    exceed = np.abs(signs @ values) >= np.abs(values.sum(0)) * (1 - 1e-12)
    p: FloatArray = (1 + exceed.sum(0)) / (1 + SIGNS)
    return p


def call_units(preference: FloatArray) -> NDArray[np.bool_]:
    """Return which units prefer a region and which avoid it, (2, U).

    The false discovery rate of both together is `ALARMS` (Benjamini & Hochberg 1995).

    Args:
        preference: (N, U), see `preference_test`.
    """
    called = false_discovery_control(preference_test(preference)) < ALARMS
    mean = np.nanmean(preference, axis=0)
    return np.stack([called & (mean > 0), called & (mean < 0)])


def planted_table(
    before: Mapping[str, Sequence[Tensor]],
    grids: Mapping[str, Tensor],
    results: Mapping[str, Mapping[str, Responses]],
    labels: Sequence[str],
    size: tuple[int, int],
) -> pd.DataFrame:
    """Return the rows of `plant_units` for each stage and region.

    Args:
        before: `stage_maps` of the network before training.
        grids: see `place_grids`.
        results: see `measure_networks`.
        labels: the R regions.
        size: (H, W).
    """
    regions = len(labels)
    rows = []
    for stage, maps in before.items():
        misplaced = results[stage]["before"].misplaced[0]
        for k, label in enumerate(labels):
            preference = misplaced[..., k] - misplaced[..., regions]
            at = grids[stage].roll(1, 0)[:, [k, regions]]
            for row in plant_units([of.double() for of in maps], preference, at, size):
                rows.append({"stage": stage, "place": label, **row})
    return pd.DataFrame(rows)


def plant_units(
    maps: Sequence[Tensor], preference: FloatArray, grids: Tensor, size: tuple[int, int]
) -> Iterator[dict[str, float]]:
    """Yield how often units that follow a region are called, for each strength.

    A planted unit is a unit before training with the region of another image added to its
    standardised map: real noise, and a region that it cannot know. A tenth of the stage's units
    are planted, in several draws.

    Args:
        maps: (U, h, w) of each of N images.
        preference: (N, U), of these maps for the region of the image before.
        grids: (N, 2, h, w), weights of the region and of other fixated regions, misplaced.
        size: (H, W).
    """
    random = np.random.default_rng(0)
    count = max(1, round(PLANTED_SHARE * preference.shape[1]))
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
            planted = np.zeros(preference.shape[1], np.bool_)
            planted[random.choice(len(planted), count, replace=False)] = True
            prefers, avoids = call_units(np.where(planted, with_signal, preference))
            detected.append(prefers[planted].mean())
            alarms.append((prefers | avoids)[~planted].mean())
        yield {
            "strength": strength,
            "preference": float(np.nanmean(with_signal) - np.nanmean(preference)),
            "power": float(np.mean(detected)),
            "false_alarms": float(np.mean(alarms)),
        }
