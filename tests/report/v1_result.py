"""A `v1.json` for the tests of the reports."""

from pathlib import Path

from deepsal.atomic import write_json
from deepsal.rf.tuning.macaque_v1 import CELL_HISTOGRAMS


def write_v1_result(folder: Path) -> None:
    """Write the results of two networks with one stage each: units like V1, and no units."""
    folder.mkdir(parents=True, exist_ok=True)

    def layer(alike: bool) -> dict[str, object]:
        interval = {"estimate": 0.9, "low": 0.8, "high": 1.0} if alike else {}
        empty = dict.fromkeys(("estimate", "low", "high"))
        cells = CELL_HISTOGRAMS.items()
        return {
            **{"units": 8, "responsive": 6, "compared": 5 if alike else 0},
            "counts": {k: list(c.counts) if alike else [0] * len(c.counts) for k, c in cells},
            "similarity": {name: {**empty, **interval} for name, _ in cells},
            "median": {"ssi": {**empty, "estimate": 0.33 if alike else None}},
        }

    write_json(
        folder / "v1.json",
        {
            "protocol": {"pixels_per_degree": 28.0},
            "all_units": True,
            "backgrounds": 2,
            "cells": {name: cells._asdict() for name, cells in CELL_HISTOGRAMS.items()},
            "networks": {
                "after training": {"conv3": layer(True)},
                "untrained": {"conv3": layer(False)},
            },
        },
    )
