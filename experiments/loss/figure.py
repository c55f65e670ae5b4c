"""Compare losses in expected.csv and figure.png.

python experiments/loss/figure.py runs/studies/loss [--to experiments/loss]
"""

import argparse
from pathlib import Path

from deepsal.report.figures.conditions import draw_conditions
from deepsal.report.tables.conditions import condition_table, read_conditions

LOSSES = {
    "kl": "KL",
    "cc": "CC",
    "cvpr2019": "NSS",
    "kl_cc_nss": "KL, .1 CC, .1 NSS",
    "eml": "KL, CC, NSS",
    "sam": "10 KL, 2 CC, NSS",
    "transalnet": "10 KL, 2 CC, SIM, NSS",
}
"""Losses and their terms."""
REFERENCE = LOSSES["kl_cc_nss"]
SCORES = ("nss", "cc", "kl", "sim", "auc", "ig")


def main() -> None:
    """Write the table and the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("runs", type=Path, help="folder of the study, with its run folders")
    parser.add_argument("--to", type=Path, default=Path(__file__).parent, help="output folder")
    arguments = parser.parse_args()
    conditions = read_conditions(arguments.runs, lambda of: LOSSES.get(of["loss.name"]), SCORES)
    table = condition_table(conditions, REFERENCE)
    print(table.round(3).to_string(index=False))
    table.to_csv(arguments.to / "expected.csv", index=False, float_format="%.4g")
    rows = [label for label in LOSSES.values() if label in conditions]
    draw_conditions(table, rows).savefig(arguments.to / "figure.png")


if __name__ == "__main__":
    main()
