"""Compare weights before training in expected.csv and figure.png.

Trainings of other studies with the same options may be copied into the folder of the study.

python experiments/pretraining/figure.py runs/studies/pretraining [--to experiments/pretraining]
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from deepsal.report.figures.conditions import draw_conditions
from deepsal.report.tables.conditions import condition_table, read_conditions

STARTS = ("ImageNet", "edges", "random")
LEARNING = {"none": "decoder", "norm": "norm layers", "all": "all"}
BACKBONES = {"efficientnet_lite0": "Lite0", "vgg16": "VGG16"}
EPOCHS = 3
MEASURES = ("correlation", "reliability")


def main() -> None:
    """Write the table and the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("runs", type=Path, help="folder of the study, with its run folders")
    parser.add_argument("--to", type=Path, default=Path(__file__).parent, help="output folder")
    arguments = parser.parse_args()
    conditions = read_conditions(arguments.runs, describe_condition, ("nss", "cc", "kl", "auc"))
    tables = []
    for backbone in dict.fromkeys(name.split(",")[0] for name in conditions):
        group = {name: of for name, of in conditions.items() if name.startswith(f"{backbone},")}
        tables.append(condition_table(group, reference_of([*group]), MEASURES))
    table = pd.concat(tables)
    print(table.round(3).to_string(index=False))
    table.to_csv(arguments.to / "expected.csv", index=False, float_format="%.4g")
    rows = sorted(conditions, key=lambda name: (name.split(",")[0], row_order(name)))
    draw_conditions(table, rows).savefig(arguments.to / "figure.png")


def describe_condition(options: Mapping[str, Any]) -> str:
    """Return network, weights, learning part, and epochs if not 3, such as `Lite0, random, all`."""
    network = BACKBONES.get(options["backbone.name"], options["backbone.name"])
    learning, weights = LEARNING[options["finetune.name"]], options["backbone.weights"]
    start = "random" if weights is None else "edges" if Path(weights).suffix else "ImageNet"
    epochs = options["trainer.max_epochs"]
    return f"{network}, {start}, {learning}" + (f", {epochs} epochs" if epochs != EPOCHS else "")


def row_order(name: str) -> tuple[int, int, str]:
    """Return a sort key: by weights, learning part and epochs."""
    _, start, learning, *epochs = name.split(", ")
    return STARTS.index(start), [*LEARNING.values()].index(learning), "".join(epochs)


def reference_of(names: list[str]) -> str:
    """Return the condition with the best weights in which all learn for the shortest time."""
    start = min(names, key=row_order).split(", ")[1]
    return min((name for name in names if f", {start}, all" in name), key=row_order)


if __name__ == "__main__":
    main()
