"""Compare recipes on the validation images in expected.csv and figure.png.

python experiments/recipe/figure.py runs/studies/recipe [--to experiments/recipe]
"""

import argparse
from pathlib import Path

from deepsal.report.figures.conditions import draw_conditions
from deepsal.report.tables.conditions import condition_table, read_conditions

RECIPES = {
    "base": "default",
    "width_32": "decoder of width 32",
    "width_128": "decoder of width 128",
    "deep_stages": "conv4 and conv5 alone",
    "all_stages": "conv1 too",
    "colour": "colour",
    "crop": "crops",
    "epochs_6": "6 epochs",
    "lr_half": "half the learning rate",
    "lr_double": "twice the learning rate",
    "backbone_rate": "backbone at .3 of the rate",
    "averaged": "averaged weights",
    "mixed": "OSIE and NUS scenes",
    "lite1": "EfficientNet-Lite1",
    "lite2": "EfficientNet-Lite2",
}
"""Recipes and their labels; each changes one thing of the first."""


def main() -> None:
    """Write the table and the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("runs", type=Path, help="folder of the study, with its run folders")
    parser.add_argument("--to", type=Path, default=Path(__file__).parent, help="output folder")
    arguments = parser.parse_args()
    conditions = read_conditions(arguments.runs, lambda of: RECIPES.get(of["recipe"]))
    table = condition_table(conditions, RECIPES["base"])
    print(table.round(3).to_string(index=False))
    table.to_csv(arguments.to / "expected.csv", index=False, float_format="%.4g")
    rows = [label for label in RECIPES.values() if label in conditions]
    figure = draw_conditions(table, rows[1:], reference=RECIPES["base"])
    figure.savefig(arguments.to / "figure.png")


if __name__ == "__main__":
    main()
