"""Measure how batch-norm statistics alone change fields, for each depth of the study.

python experiments/depth/control.py runs/studies/depth --data FOLDER [--to experiments/depth]

The weights before training get the statistics of training images in the layers whose statistics
the training changed; nothing is trained. Fields are measured with the noise of the study, and
compared with those before training as in the study. Writes control.csv. FOLDER holds osie/.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from torch import Tensor

from deepsal.data import SaliencyDataModule, osie
from deepsal.data.batch import first_images
from deepsal.models import STAGES, backbone_from_checkpoint, build_backbone
from deepsal.rf import reverse_correlation, store
from deepsal.rf.claims.controls import built_in_control
from deepsal.rf.measures.reliability import corrected_similarity
from deepsal.statistics import finite_median

IMAGES = 64
"""Validation images behind the noise, as in a run; and training images for the statistics."""


def main() -> None:
    """Measure the control of one run of each depth, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("runs", type=Path, help="folder of the study, with its run folders")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds osie/")
    parser.add_argument("--to", type=Path, default=Path(__file__).parent, help="output folder")
    arguments = parser.parse_args()
    splits = SaliencyDataModule(osie(arguments.data), flip=0).images
    train, val = (first_images(splits[name], IMAGES) for name in ("train", "val"))
    rows = []
    for job in sorted(
        file.parents[1] for file in arguments.runs.glob("*-s0/checkpoints/best.ckpt")
    ):
        row = control_similarities(job, train, val)
        if row:
            rows.append(row)
            print(row, flush=True)
            pd.DataFrame(rows).to_csv(arguments.to / "control.csv", index=False)


def control_similarities(job: Path, train: Tensor, val: Tensor) -> dict[str, str | float] | None:
    """Return the median similarity of each stage; None for a run that changed no statistics."""
    config = yaml.safe_load((job / "config.yaml").read_text(encoding="utf-8"))
    options = config["backbone"]
    before = build_backbone(options["name"], options["weights"], options.get("model")).eval()
    after = backbone_from_checkpoint(before, job / "checkpoints" / "best.ckpt")
    network = built_in_control("bn_only", before, after, train, seed=0)
    if network is None:
        return None
    first = job / "fields" / "epoch=000.npz"
    sampling = {stage: store.load_noise_fields(first, f"{stage}/natural") for stage in STAGES}
    size = val.shape[-2], val.shape[-1]
    fields = reverse_correlation(network, STAGES, size, val, window=129, repeat=sampling)
    row: dict[str, str | float] = {"depth": config["finetune"]["name"]}
    with np.load(job / "fields" / "blocks.npz") as blocks:
        for stage in STAGES:
            start = blocks[f"{stage}/natural"]
            similarity = corrected_similarity(start, fields[stage].blocks[:, : start.shape[1]])[1]
            row[stage] = round(finite_median(similarity.value), 4)
    return row


if __name__ == "__main__":
    main()
