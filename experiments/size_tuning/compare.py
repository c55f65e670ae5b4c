"""Compare size tuning before and after training, with controls, and with macaque V1.

python run.py do=[v1] backbone=efficientnet_lite0 ckpt=FILE v1.controls=[FOLDER,…] hydra.run.dir=RUN
python experiments/size_tuning/compare.py RUN [RUN …] [--to FOLDER]

Writes networks.csv (a row per run, network and stage) and changes.csv. The change of a stage is the
median over units and seeds of SSI after − before, each at its own best grating. It stands beside
the same of networks that learnt something else, and the difference between the two, paired by unit
and seed. Intervals and p are those of the crossed bootstrap over units and seeds, with one seed
over units alone; p is Holm-adjusted over the stages of a row's kind. Without a checkpoint a run has
rows for the network before training and untrained.
"""

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deepsal.rf.tuning.size_tuning import SUPPRESSED
from deepsal.runs.v1 import RUN_NETWORK, START_NETWORK
from deepsal.statistics import crossed_bootstrap, holm_correction

Values = np.ndarray[Any, np.dtype[np.float64]]


def main() -> None:
    """Write one row per run, network and stage, and one per kind of training and stage."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folder with v1.json")
    parser.add_argument("--to", type=Path, default=Path(__file__).parent, help="output folder")
    arguments = parser.parse_args()
    for name, rows in (("networks", network_rows), ("changes", change_rows)):
        table = pd.DataFrame(
            {"run": run.resolve().name, **row}
            for run in arguments.runs
            for row in rows(json.loads((run / "v1.json").read_text())["networks"])
        ).round(3)
        print(table.to_string(index=False))
        table.to_csv(arguments.to / f"{name}.csv", index=False)


def network_rows(networks: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield quartiles of SSI by gratings and by disks, and similarities to V1, of each stage."""
    for network, stages in networks.items():
        for stage, layer in stages.items():
            row = {"network": network, "stage": stage}
            row |= {key: layer[key] for key in ("units", "silent", "responsive")}
            for name in ("ssi", "disk_ssi"):
                quartiles = np.nanquantile(unit_values(layer, name), [0.25, 0.5, 0.75])
                row |= {f"{name}_{q}": v for q, v in zip((25, 50, 75), quartiles, strict=True)}
            row["suppressed"] = layer["suppressed"]["estimate"]
            for name, value in layer["similarity"].items():
                row |= {f"v1_{name}": value["estimate"]}
                row |= {f"v1_{name}_{end}": value[end] for end in ("low", "high")}
            yield row


def change_rows(networks: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the changes of each kind of training, and their differences to those on fixations."""
    kinds = trainings(networks)
    if RUN_NETWORK not in kinds:
        return
    for kind, group in kinds.items():
        compared = {"change": [networks[START_NETWORK]]}
        if kind != RUN_NETWORK:
            compared["less_than_fixations"] = kinds[RUN_NETWORK]
        for measure, index in (("ssi", "ssi"), ("suppressed", "ssi"), ("disk_ssi", "disk_ssi")):
            stages = [*group[0]]
            columns: dict[str, list[Any]] = {}
            for name, others in compared.items():
                sign = 1 if name == "change" else -1
                pairs = list(zip(group, others * len(group), strict=False))
                effects = [
                    crossed_bootstrap(
                        sign
                        * np.array([_difference(a[s], b[s], index, measure) for a, b in pairs]),
                        np.nanmean if measure == "suppressed" else None,
                    )
                    for s in stages
                ]
                columns[name] = [e.interval.estimate for e in effects]
                columns[f"{name}_low"] = [e.interval.low for e in effects]
                columns[f"{name}_high"] = [e.interval.high for e in effects]
                columns[f"{name}_p"] = holm_correction(np.array([e.p for e in effects])).tolist()
                columns["units"] = [e.interval.count for e in effects]
            for i, stage in enumerate(stages):
                row = {"trained_on": kind.replace(RUN_NETWORK, "fixations"), "seeds": len(group)}
                row |= {"measure": measure, "stage": stage}
                yield row | {key: values[i] for key, values in columns.items()}


def trainings(networks: Mapping[str, Any]) -> dict[str, list[Mapping[str, Any]]]:
    """Return the networks after each kind of training, in the order of their seeds."""
    kinds: dict[str, list[Mapping[str, Any]]] = {}
    for name in sorted(networks):
        if name not in (START_NETWORK, "untrained"):
            kinds.setdefault(name.partition(", seed ")[0], []).append(networks[name])
    return kinds


def unit_values(layer: Mapping[str, Any], name: str) -> Values:
    """Return an index of a layer's units, (U,); NaN for those without one."""
    return np.array([np.nan if v is None else v for v in layer["values"][name]], np.float64)


def _difference(
    one: Mapping[str, Any], other: Mapping[str, Any], index: str, measure: str
) -> Values:
    values = [unit_values(layer, index) for layer in (one, other)]
    if measure == "suppressed":
        values = [np.where(np.isfinite(v), v >= SUPPRESSED, np.nan) for v in values]
    return values[0] - values[1]


if __name__ == "__main__":
    main()
