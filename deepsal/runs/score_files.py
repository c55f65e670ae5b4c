"""Test scores as files: one row per image, and means with intervals."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from deepsal.statistics import bootstrap_mean_interval


def write_scores(
    folder: Path,
    rows: Sequence[Mapping[str, Any]],
    dataset: str,
    protocol: str = "tuebingen",
    maps: str = "density",
) -> None:
    """Write `scores.csv` and `scores.json` atomically.

    Args:
        folder: the run folder.
        rows: one dict per image: `name`, scores, and scores of baselines such as `centre_nss`.
        dataset: what was scored, and its release.
        protocol: whose definitions.
        maps: `density` or `optimal`.
    """
    table = pd.DataFrame(rows)
    means: dict[str, dict[str, Any]] = {}
    for column in table.columns.drop("name"):
        model, _, score = column.rpartition("_")
        interval = bootstrap_mean_interval(table[column].to_numpy())
        means.setdefault(model or "run", {})[score] = interval.as_mean()
    found = {
        "dataset": dataset,
        "images": len(table),
        "resolution": "own",
        "protocol": protocol,
        "maps": maps,
        "ig_over": "centre prior of the training fixations",
        "scores": means,
    }
    _replace(folder / "scores.csv", table.to_csv(index=False))
    _replace(folder / "scores.json", json.dumps(found, indent=1))


def read_scores(folder: Path) -> dict[str, Any]:
    """Return the contents of a run's `scores.json`."""
    found: dict[str, Any] = json.loads((folder / "scores.json").read_text())
    return found


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text)
    os.replace(partial, path)
