"""Measure the reliability of mean gradients over a few patches, and write reliability.csv.

python experiments/surround/reliability.py --data FOLDER [--to FILE]

The reliability of a unit's field is the correlation of two means over disjoint halves of the
patches, corrected to the full number of patches: 2r / (1 + r) (Spearman 1910, Brown 1910).
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from deepsal.data import SaliencyDataModule, osie
from deepsal.models import build_backbone
from deepsal.rf import map_receptive_fields, measure_geometry
from deepsal.rf.measures.reliability import spearman_brown
from deepsal.rf.measures.similarity import field_correlation
from deepsal.rf.patches import centred_patches

PATCH_COUNTS = (4, 8, 32)
SPLIT_COUNT = 50
WINDOW_SIDE = 129


def main() -> None:
    """Measure EfficientNet-Lite0 with ImageNet weights on validation images of OSIE."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds osie/")
    default = Path(__file__).parent / "reliability.csv"
    parser.add_argument("--to", type=Path, default=default, help="output file (.csv)")
    arguments = parser.parse_args()
    network = build_backbone("tf_efficientnet_lite0", "efficientnet_lite0").eval()
    samples = SaliencyDataModule(osie(arguments.data)).images["val"]
    images = torch.stack([samples[i].image for i in range(max(PATCH_COUNTS))])
    units = {f"conv{i}": range(16) for i in range(1, 6)}
    table = reliability_table(network, units, images, PATCH_COUNTS)
    print(table.to_string(index=False))
    table.to_csv(arguments.to, index=False)


def reliability_table(
    network: nn.Module,
    units: Mapping[str, Sequence[int]],
    images: Float[Tensor, "N 3 h w"],
    patches: Sequence[int],
) -> pd.DataFrame:
    """Return the median reliability over units, a row per layer, a column per number of patches.

    Args:
        network: any network in eval mode.
        units: `{layer: channels}`.
        images: one patch is the middle of one image.
        patches: even numbers, at most as many as images.
    """
    size = images.shape[-2], images.shape[-1]
    rows = []
    for layer, channels in units.items():
        geometry = measure_geometry(network, layer)
        place = centred_patches(len(channels), 1, geometry, size)
        fields = np.stack(
            [
                map_receptive_fields(
                    network, layer, image[None], place, channels, geometry, WINDOW_SIDE
                ).field
                for image in images
            ]
        )
        rows.append({"stage": layer} | {str(n): _median_reliability(fields, n) for n in patches})
    return pd.DataFrame(rows)


def _median_reliability(fields: NDArray[np.float32], count: int) -> str:
    """Return the median over units and splits of fields (N, U, 3, h, w), `count` patches each."""
    random = np.random.default_rng(0)
    values = []
    for _ in range(SPLIT_COUNT):
        halves = np.split(random.permutation(len(fields))[:count], 2)
        r = field_correlation(*(fields[half].mean(0) for half in halves))
        values.append(spearman_brown(r))
    return f"{np.median(values):.3f}"


if __name__ == "__main__":
    main()
