"""Files of test scores: one row per image, and means with intervals."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from deepsal.atomic import write_text
from deepsal.statistics import bootstrap_mean_interval


def write_scores(
    folder: Path,
    rows: Sequence[Mapping[str, Any]],
    dataset: str,
    protocol: str = "tuebingen",
    maps: str = "density",
    trained_on: str | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    left_out: int = 0,
) -> None:
    """Write `scores.csv` and `scores.json` atomically.

    Args:
        folder: the run folder.
        rows: one dict per image: `name`, scores, and scores of baselines such as `centre_nss`.
        dataset: name of the data set and its release.
        protocol: of the scores' definitions, `tuebingen` or `mit`.
        maps: `density` or `optimal`.
        trained_on: name of the data set that the network was trained on; None for a baseline.
        settings: what baselines chose, such as the bandwidth of `centre`, over which IG is.
        left_out: number of test images that were not scored, as they have no stored map.
    """
    table = pd.DataFrame(rows)
    means: dict[str, dict[str, Any]] = {}
    for column in table.columns.drop("name"):
        model, _, score = column.rpartition("_")
        interval = bootstrap_mean_interval(table[column].to_numpy())
        means.setdefault(model or "run", {})[score] = interval.as_mean()
    summary = {
        "dataset": dataset,
        "trained_on": trained_on,
        "images": len(table),
        "left_out": left_out,
        "resolution": "own",
        "protocol": protocol,
        "maps": maps,
        "scores": means,
        "settings": settings or {},
    }
    if centre := (settings or {}).get("centre"):
        summary["ig_over"] = (
            f"centre prior of {centre['images']} of {centre['dataset']}, "
            f"bandwidth {centre['bandwidth']:g}"
        )
    write_text(folder / "scores.csv", table.to_csv(index=False))
    write_text(folder / "scores.json", json.dumps(summary, indent=1))


def read_scores(folder: Path) -> dict[str, Any]:
    """Return the contents of a run's `scores.json`."""
    return dict(json.loads((folder / "scores.json").read_text(encoding="utf-8")))


def read_image_scores(folder: Path) -> pd.DataFrame:
    """Return a run's `scores.csv` by image; NA and null are names of images as any other."""
    file = folder / "scores.csv"
    numbers = {column: [""] for column in pd.read_csv(file, nrows=0).columns.drop("name")}
    table = pd.read_csv(file, dtype={"name": str}, keep_default_na=False, na_values=numbers)
    return table.set_index("name")
