"""Compare the change of fields by tuning with that by a random displacement of the same size.

python experiments/depth/size_matched_control.py runs/studies/depth FOLDER [--to experiments/depth]

FOLDER holds osie/. Writes control.csv. For each run that tuned every stage, three backbones are
compared with the pre-trained one, on the same units and patches:

tuned      the last checkpoint
random     the pre-trained weights, each tensor displaced in a random direction by as much as
           tuning displaced it; pre-trained batch-norm statistics
statistics the pre-trained weights with the tuned batch-norm statistics
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from deepsal.data import SaliencyDataModule, osie
from deepsal.models import STAGES, Backbone, build_backbone
from deepsal.rf import map_receptive_fields, measure_geometry, store
from deepsal.rf.measures.profile import smooth_field
from deepsal.rf.measures.similarity import field_correlation
from deepsal.statistics import finite_median

BACKBONE_PREFIX = "network.backbone."
StateDict = Mapping[str, Tensor]
BATCH_NORM_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def weight_variants(start: StateDict, tuned: StateDict, seed: int) -> dict[str, StateDict]:
    """Return the three state dicts by name."""
    generator = torch.Generator().manual_seed(seed)
    displaced, restated = dict(start), dict(start)
    for key, value in start.items():
        if key.endswith(BATCH_NORM_STATISTICS):
            restated[key] = tuned[key]
        elif value.is_floating_point():
            noise = torch.randn(value.shape, generator=generator)
            length = (tuned[key] - value).norm() / noise.norm()
            displaced[key] = value + length * noise
    return {"tuned": tuned, "random": displaced, "statistics": restated}


def stage_correlations(
    network: Backbone, job: Path, images: Tensor, state: StateDict
) -> dict[str, float]:
    """Return the median correlation of each stage with the stored fields of epoch 0."""
    network.load_state_dict(state)
    row = {}
    for stage in STAGES:
        before = store.load_fields(job / "fields" / "epoch=000.npz", f"{stage}/centred")
        geometry = measure_geometry(network, stage)
        side = before.field.shape[-1]
        fields = map_receptive_fields(
            network, stage, images, before.patches, before.units.tolist(), geometry, side
        )
        sigma = store.load_description(job / "fields" / "epoch=000.npz")["stages"][stage]["sigma"]
        pair = (smooth_field(f, sigma) for f in (fields.field, before.field))
        row[stage] = round(finite_median(field_correlation(*pair)), 4)
    return row


def main() -> None:
    """Compare every run of depth `all`, write the table and print its means."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, help="folder of the study, with its run folders")
    parser.add_argument("data_dir", type=Path, help="folder that holds osie/")
    parser.add_argument("--to", type=Path, default=Path(__file__).parent, help="output folder")
    arguments = parser.parse_args()
    network = build_backbone("efficientnet_lite0", "efficientnet_lite0", "tf_efficientnet_lite0")
    start = {key: value.clone() for key, value in network.state_dict().items()}
    data = SaliencyDataModule(osie(arguments.data_dir)).images["val"]
    images = torch.stack([data[i].image for i in range(4)])
    rows = []
    for seed, job in enumerate(sorted(arguments.runs.glob("all-s*"))):
        saved = torch.load(job / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        tuned = {
            k.removeprefix(BACKBONE_PREFIX): v
            for k, v in saved.items()
            if k.startswith(BACKBONE_PREFIX)
        }
        for name, state in weight_variants(start, tuned, seed).items():
            row = stage_correlations(network, job, images, state)
            rows.append({"run": job.name, "variant": name, **row})
            print(rows[-1], flush=True)
    table = pd.DataFrame(rows)
    table.to_csv(arguments.to / "control.csv", index=False)
    print(table.groupby("variant")[list(STAGES)].mean().round(2))


if __name__ == "__main__":
    main()
