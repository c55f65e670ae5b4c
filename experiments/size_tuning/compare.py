"""Compare size tuning before and after training, and untrained, from runs with do=[v1].

python run.py do=[v1] backbone=efficientnet_lite0 ckpt=FILE hydra.run.dir=RUN
python experiments/size_tuning/compare.py RUN [RUN …] [--to FILE]

The change of a stage is the median over its units of SSI after − before, each at its own best
grating, with a bootstrap interval over units and Wilcoxon's signed-rank test, Holm-adjusted over
the stages of a run. A run without a checkpoint has rows for the network before training and
untrained.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deepsal.runs.v1 import RUN_NETWORK, START_NETWORK
from deepsal.statistics import bootstrap_interval, holm_correction, wilcoxon_test

SIMILARITIES = ("ssi", "summation_field", "surround_diameter", "frequency")


def main() -> None:
    """Write one row per run, network and stage."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folder with v1.json")
    default = Path(__file__).parent / "result.csv"
    parser.add_argument("--to", type=Path, default=default, help="output file (.csv)")
    arguments = parser.parse_args()
    table = size_tuning_table(arguments.runs)
    print(table.to_string(index=False))
    table.to_csv(arguments.to, index=False)


def size_tuning_table(runs: Sequence[Path]) -> pd.DataFrame:
    """Return quartiles of SSI by gratings and by disks, similarities to V1, and the changes."""
    rows = []
    for run in runs:
        networks = json.loads((run / "v1.json").read_text())["networks"]
        for network, stages in networks.items():
            changes = {}
            if network == RUN_NETWORK:
                changes = ssi_changes(networks[START_NETWORK], stages)
            for stage, layer in stages.items():
                row = {"run": run.resolve().name, "network": network, "stage": stage}
                row |= {"units": layer["units"], "responsive": layer["responsive"]}
                for name in ("ssi", "disk_ssi"):
                    quartiles = np.nanquantile(unit_values(layer, name), [0.25, 0.5, 0.75])
                    row |= {f"{name}_{q}": v for q, v in zip((25, 50, 75), quartiles, strict=True)}
                row["suppressed"] = layer["suppressed"]["estimate"]
                row |= {f"v1_{s}": layer["similarity"][s]["estimate"] for s in SIMILARITIES}
                rows.append(row | changes.get(stage, {}))
    return pd.DataFrame(rows).round(3)


def ssi_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Return the median change of SSI of the units of each stage, its interval, and p."""
    pairs = [(unit_values(before[s], "ssi"), unit_values(after[s], "ssi")) for s in after]
    p = holm_correction(np.array([wilcoxon_test(*pair) for pair in pairs]))
    changes = [bootstrap_interval(new - old) for old, new in pairs]
    return {
        stage: {"change": c.estimate, "change_low": c.low, "change_high": c.high, "p": float(q)}
        for stage, c, q in zip(after, changes, p, strict=True)
    }


def unit_values(layer: Mapping[str, Any], name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return an index of a layer's units, (U,); NaN for those without one."""
    return np.array([np.nan if v is None else v for v in layer["values"][name]], np.float64)


if __name__ == "__main__":
    main()
