"""Compare losses in expected.csv and figure.png.

python experiments/loss/figure.py runs/studies/loss [--to experiments/loss]
"""

from pathlib import Path

from deepsal.report.condition_study import compare_conditions

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


if __name__ == "__main__":
    compare_conditions(Path(__file__), "loss.name", LOSSES, REFERENCE, SCORES)
