"""Compare recipes on the validation images in expected.csv and figure.png.

python experiments/recipe/figure.py runs/studies/recipe [--to experiments/recipe]
"""

from pathlib import Path

from deepsal.report.condition_study import compare_conditions

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


if __name__ == "__main__":
    compare_conditions(Path(__file__), "recipe", RECIPES, RECIPES["base"], differences=True)
