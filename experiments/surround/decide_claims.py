"""Decide the claims over several seeds of one backbone, and write expected.csv.

python experiments/surround/decide_claims.py runs/studies/surround --data FOLDER [--to FILE]

Run the study first: the best checkpoint of every job is one seed of the tuned network, or of a
control. Beside the table, verdict.json with the power of the rule goes to a folder of its name.
"""

import argparse
import logging
from pathlib import Path

import pandas as pd
import yaml

from deepsal.data import SaliencyDataModule, osie
from deepsal.models import backbone_from_checkpoint, build_backbone
from deepsal.rf.claims.rules import ClaimRow
from deepsal.runs import claims
from deepsal.runs.claims import ClaimEvaluation
from deepsal.runs.control_runs import TUNED, training_conditions


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
    configs = {
        job: yaml.safe_load((job / "config.yaml").read_text(encoding="utf-8")) for job in jobs
    }
    conditions = {job: training_conditions(config) for job, config in configs.items()}
    own = next(job for job in jobs if conditions[job]["control"] == TUNED)
    options = {key: configs[own]["backbone"].get(key) for key in ("name", "weights", "model")}
    before = build_backbone(**options).eval()
    images = SaliencyDataModule(osie(arguments.data)).images
    evaluation = ClaimEvaluation(
        arguments.to.parent / arguments.to.stem,
        controls=[job for job in jobs if job != own],
        run=conditions[own],
    )
    after = backbone_from_checkpoint(before, own / "checkpoints" / "best.ckpt")
    rows = evaluation(before, after, images["val"], images["train"])
    claims.print_verdict(rows, evaluation.networks)
    verdict_table(rows).to_csv(arguments.to, index=False, float_format="%.4g")


def verdict_table(rows: list[ClaimRow]) -> pd.DataFrame:
    """Return the rows of a verdict as a table, one column per number."""
    return pd.DataFrame([{**row._asdict(), **row.effect._asdict()} for row in rows]).drop(
        columns="effect"
    )


if __name__ == "__main__":
    main()
