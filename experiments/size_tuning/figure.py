"""Compare size tuning before and after training, with controls and macaque V1, and draw it.

python experiments/size_tuning/figure.py RUN [--to FOLDER]    # RUN: a folder with v1.json
python experiments/size_tuning/figure.py [--to FOLDER]        # figure.png alone, from the tables

Writes networks.csv (a row per network and stage), expected.csv and figure.png. The change of a
stage is the median over units and seeds of SSI after − before, each at its own best grating; for
`suppressed`, the mean of the change of SSI ≥ .1. It stands beside the same of networks that learnt
something else, and the difference between the two, paired by unit and seed. Intervals and p are
those of the crossed bootstrap over units and seeds, with one seed over units alone; p is
Holm-adjusted over the stages of a row's kind.
"""

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deepsal.report.figures.claims import CONTROL_STYLES, TUNED_COLOUR
from deepsal.report.figures.intervals import error_bars
from deepsal.rf.tuning.size_tuning import SUPPRESSED
from deepsal.runs.v1 import RUN_NETWORK, START_NETWORK
from deepsal.statistics import crossed_bootstrap, holm_correction

Values = np.ndarray[Any, np.dtype[np.float64]]

V1_SUPPRESSED = 0.78
"""Share of the cells of macaque V1 whose SSI is .1 or more (Cavanaugh et al. 2002)."""
KINDS = {
    START_NETWORK: ("before training", "black"),
    **{kind: CONTROL_STYLES[kind] for kind in ("untrained", "shuffled_fixations", "other_task")},
    RUN_NETWORK: ("trained on fixations", TUNED_COLOUR),
}
"""Label and colour of each kind of network."""


def main() -> None:
    """Write the tables of a run, and draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("run", type=Path, nargs="?", metavar="RUN", help="folder with v1.json")
    parser.add_argument("--to", type=Path, default=Path(__file__).parent, help="output folder")
    arguments = parser.parse_args()
    tables = {name: arguments.to / f"{name}.csv" for name in ("networks", "expected")}
    if arguments.run:
        networks = json.loads((arguments.run / "v1.json").read_text())["networks"]
        for name, rows in (("networks", network_rows), ("expected", change_rows)):
            table = pd.DataFrame(rows(networks)).round(3)
            print(table.to_string(index=False))
            table.to_csv(tables[name], index=False)
    read = [pd.read_csv(file) for file in tables.values()]
    draw_size_tuning(*read).savefig(arguments.to / "figure.png")


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


def draw_size_tuning(networks: pd.DataFrame, changes: pd.DataFrame) -> Figure:
    """Draw the share of suppressed units, its change by training, and the likeness of SSI to V1."""
    stages = [*dict.fromkeys(networks["stage"])]
    kinds = networks["network"].str.partition(", seed ")[0]
    means = networks.groupby([kinds, "stage"], sort=False).mean(numeric_only=True)
    changes = changes[changes["measure"] == "suppressed"]
    figure = Figure(figsize=(7.2, 2.9), dpi=200, layout="constrained", facecolor="white")
    shares, change, likeness = figure.subplots(1, 3)
    for shift, (kind, (label, colour)) in enumerate(KINDS.items(), -2):
        at = np.arange(len(stages)) + 0.14 * shift
        style = {"fmt": "o", "ms": 3, "lw": 1, "c": colour, "label": label}
        if kind in means.index:
            of = means.loc[[(kind, stage) for stage in stages]]
            shares.errorbar(at, of["suppressed"], **style)
            likeness.errorbar(at, of["v1_ssi"], error_bars(of, "v1_ssi"), **style)
        rows = changes[changes["trained_on"] == kind.replace(RUN_NETWORK, "fixations")]
        if len(rows):
            change.errorbar(at, rows["change"], error_bars(rows, "change"), **style)
    shares.axhline(V1_SUPPRESSED, color="0.3", lw=0.8, ls="--", label="macaque V1", zorder=0)
    change.axhline(0, color="0.85", lw=0.8, zorder=0)
    finish_panel(shares, stages, "share of units with SSI ≥ .1", (-0.03, 1.03))
    finish_panel(change, stages, "change of this share by training", None)
    finish_panel(likeness, stages, "similarity of SSI to V1", (-0.03, 1.03))
    handles, labels = shares.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=7, frameon=False)
    return figure


def finish_panel(
    axis: Axes, stages: list[str], title: str, limits: tuple[float, float] | None
) -> None:
    """Set the title, the limits and the stages of a panel."""
    axis.set_title(title, fontsize=8)
    axis.set_xticks(range(len(stages)), stages)
    axis.tick_params(labelsize=7)
    axis.spines[["top", "right"]].set_visible(False)
    if limits:
        axis.set_ylim(limits)


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
