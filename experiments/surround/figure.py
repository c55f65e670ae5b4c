"""Collect the verdict of the study in expected.csv and power.csv, and draw it in figure.png.

python experiments/surround/figure.py runs/studies/surround/claims [--to experiments/surround]

power.csv has what the rule of P3 finds in each network, planted and real.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deepsal.report.figures.claims import draw_claims, verdict_frame


def main() -> None:
    """Read a verdict, and write the tables and the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("run", type=Path, help="run folder with verdict.json")
    parser.add_argument("--to", type=Path, default=Path(__file__).parent, help="output folder")
    arguments = parser.parse_args()
    verdict = json.loads((arguments.run / "verdict.json").read_text(encoding="utf-8"))
    rows, power = verdict_frame(verdict["rows"]), power_table(verdict["networks"])
    arguments.to.mkdir(parents=True, exist_ok=True)
    rows.to_csv(arguments.to / "expected.csv", index=False, float_format="%.4g")
    power.to_csv(arguments.to / "power.csv", index=False, float_format="%.4g")
    draw_claims(verdict).savefig(arguments.to / "figure.png")


def power_table(networks: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return what the rule finds at each stage of each network, and among planted fields there."""
    return pd.DataFrame(
        [
            {
                "network": of["network"],
                "stage": of["stage"],
                "background": of["background"],
                "reliability": of["reliability"],
                "pairs": of["pairs"],
                "spread": of["spread"],
                "found": of["found"]["mean"] if of["found"] else np.nan,
                **{f"power_{k}": power for k, power in of["rule"]["power"].items()},
                "false_alarms": max(of["rule"]["false_alarms"].values()),
            }
            for of in networks
            if of["rule"]
        ]
    )


if __name__ == "__main__":
    main()
