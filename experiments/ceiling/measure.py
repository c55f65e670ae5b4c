"""Compare two estimators of the human ceiling, and weights that have seen the person or not.

python experiments/ceiling/measure.py runs/studies/ceiling --data FOLDER [--to experiments/ceiling]
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from deepsal.data import SaliencyDataset, nus_scene, osie
from deepsal.models import MixtureCeiling
from deepsal.models.baselines import fixation_kernels
from deepsal.models.baselines.fixation_kernels import fit_mixture_weights
from deepsal.report.tables.conditions import condition_table, read_conditions
from deepsal.statistics import crossed_bootstrap

DATASETS: dict[str, Callable[[Path], SaliencyDataset]] = {"osie": osie, "nus_scene": nus_scene}
SCORES = ("nss", "auc", "sauc", "ig", "cc", "kl", "sim")
ESTIMATORS = {"human": "one kernel", "human_mixture": "mixture"}
NO_PRIOR = 1e-3
"""Concentration that leaves the weights to the fixations of the image."""


def compare_estimators(runs: Path, data: str) -> pd.DataFrame:
    """Return the scores of both ceilings on a data set, with paired differences over images."""
    conditions = read_conditions(
        runs,
        lambda of: ESTIMATORS.get(of["network.name"]) if of["data.name"] == data else None,
        SCORES,
    )
    return condition_table(conditions, ESTIMATORS["human"])


def information_gains(
    ceiling: MixtureCeiling, shared: MixtureCeiling
) -> dict[str, NDArray[np.float64]]:
    """Return the bits per fixation over the centre prior on each test image, by kind of weights.

    Args:
        ceiling: prepared; its weights of an image do not depend on the person who is predicted.
        shared: the same with a concentration so large that every image has the prior's weights.

    Returns:
        `nested`: weights of `ceiling` · `data set`: of `shared` · `seen`: fitted without a prior
        to the fixations that they predict.
    """
    gains: dict[str, list[float]] = {"nested": [], "data set": [], "seen": []}
    for stimulus in ceiling.test_images:
        observers = torch.from_numpy(stimulus.observers)
        held_out = observers == observers.unique()[:, None]
        components = ceiling.components(stimulus, ~held_out)[0][held_out]
        every = torch.ones(1, len(components), dtype=torch.bool)
        people = held_out.sum(1)
        seen = fit_mixture_weights(components[None], every, ceiling.prior, NO_PRIOR)
        weights = {
            "nested": ceiling.fit_weights(stimulus, ~held_out).repeat_interleave(people, 0),
            "data set": shared.fit_weights(stimulus, ~held_out).repeat_interleave(people, 0),
            "seen": seen.expand(len(components), -1),
        }
        centre = components[:, -2]
        for kind, of_fixation in weights.items():
            ratio = (components * of_fixation).sum(1) / centre
            gains[kind].append(ratio.log2().mean().item())
    return {kind: np.array(values) for kind, values in gains.items()}


def compare_weights(dataset: SaliencyDataset) -> pd.DataFrame:
    """Return the information gain by kind of weights, with differences to the nested ones.

    `fixed bandwidths` is the mixture with nested weights whose kernels are the same everywhere.
    """
    with patch.object(fixation_kernels, "BANDWIDTH_FACTORS", (1.0, 1.0)):
        fixed = information_gains(*_ceilings(dataset))["nested"]
    gains, rows = {**information_gains(*_ceilings(dataset)), "fixed bandwidths": fixed}, []
    for kind, values in gains.items():
        mean = crossed_bootstrap(values[None], np.nanmean).interval
        row = {"measure": "ig", "condition": f"mixture, {kind}", "seeds": 1}
        row |= {"mean": mean.estimate, "low": mean.low, "high": mean.high}
        if kind != "nested":
            change = crossed_bootstrap((values - gains["nested"])[None], np.nanmean)
            row |= {**change.interval.as_columns("difference"), "p": change.p}
        rows.append(row)
    return pd.DataFrame(rows)


def _ceilings(dataset: SaliencyDataset) -> list[MixtureCeiling]:
    """Return the ceiling, and one in which all images have the weights of the data set."""
    return [MixtureCeiling(concentration=c).prepare(dataset) for c in (None, 1e9)]


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("runs", type=Path, help="folder of the sweep")
    parser.add_argument("--data", type=Path, required=True, help="folder of osie/ and nus_scene/")
    parser.add_argument("--to", type=Path, default=Path(__file__).parent, help="output folder")
    arguments = parser.parse_args()
    tables = []
    for name, read in DATASETS.items():
        parts = compare_estimators(arguments.runs, name), compare_weights(read(arguments.data))
        tables.append(pd.concat(parts).assign(data=name))
    table = pd.concat(tables).drop(columns="seeds")
    print(table.round(3).to_string(index=False))
    table.to_csv(arguments.to / "expected.csv", index=False, float_format="%.4g")


if __name__ == "__main__":
    main()
