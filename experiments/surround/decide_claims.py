"""Decide the claims over several seeds of one backbone, and write expected.csv.

python experiments/surround/decide_claims.py runs/studies/surround --data FOLDER [--to FILE]

Run the study first: the best checkpoint of every job is one seed.
"""

import argparse
import logging
import tempfile
from pathlib import Path

import pandas as pd
import yaml

from deepsal.data import SaliencyDataModule, osie
from deepsal.models import backbone_from_checkpoint, build_backbone
from deepsal.rf.claims.rules import ClaimRow
from deepsal.runs import claims
from deepsal.runs.claims import ClaimEvaluation


def main() -> None:
    """Decide the claims on the runs of a study, print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("study", type=Path, help="folder of the study, with its run folders")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds osie/")
    default = Path(__file__).parent / "expected.csv"
    parser.add_argument("--to", type=Path, default=default, help="output file (.csv)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    jobs = sorted(file.parent.parent for file in arguments.study.glob("*/checkpoints/best.ckpt"))
    if not jobs:
        raise FileNotFoundError(
            f"{arguments.study} holds no job with checkpoints/best.ckpt; run the study first"
        )
    config = yaml.safe_load((jobs[0] / "config.yaml").read_text(encoding="utf-8"))["backbone"]
    options = {key: config.get(key) for key in ("name", "weights", "model")}
    before = build_backbone(**options).eval()
    after = [backbone_from_checkpoint(before, job / "checkpoints" / "best.ckpt") for job in jobs]
    with tempfile.TemporaryDirectory() as folder:
        rows = ClaimEvaluation(folder)(
            before, after, SaliencyDataModule(osie(arguments.data)).images["val"]
        )
    claims.print_verdict(rows)
    verdict_table(rows).to_csv(arguments.to, index=False, float_format="%.4g")


def verdict_table(rows: list[ClaimRow]) -> pd.DataFrame:
    """Return the rows of a verdict as a table, one column per number."""
    return pd.DataFrame([{**row._asdict(), **row.effect._asdict()} for row in rows]).drop(
        columns="effect"
    )


if __name__ == "__main__":
    main()
