"""Compare statistics that tell centre-surround fields from others, at 5 % of false alarms each.

python experiments/planted/rules.py --data FOLDER [--to FILE]

Shapes are planted in the noise of fields of EfficientNet-Lite0 (ImageNet weights), from reverse
correlation on OSIE's validation images and on grey, as a verdict measures them. Half of the rival
shapes set each threshold, all others are counted. Writes rules.csv.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from deepsal.data import SaliencyDataModule, osie
from deepsal.data.batch import first_images
from deepsal.models import build_backbone
from deepsal.rf import fit_field_models, is_centre_surround, reverse_correlation
from deepsal.rf.claims.calibration import (
    FALSE_ALARM_RATE,
    PLANTED_SURROUNDS,
    RIVAL_SHAPES,
    centre_surround_evidence,
    plant_fields,
    strongest_axis,
)
from deepsal.rf.mapping.reverse_correlation import MID_GREY
from deepsal.rf.measures.shape import centre_surround_index

STAGES = ("conv3", "conv4", "conv5")
PAIRS, TARGET, IMAGES = 1024, 0.9, 64
"""Those of `conf/claims`."""
PLANTINGS = 400


def main() -> None:
    """Measure the fields, plant shapes in their noise, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds osie/")
    parser.add_argument("--to", type=Path, default=Path(__file__).parent / "rules.csv")
    arguments = parser.parse_args()
    samples = SaliencyDataModule(osie(arguments.data)).images["val"]
    images = first_images(samples, IMAGES)
    rows = []
    for row in compare_statistics(images):
        rows.append(row)
        print(row, flush=True)
        pd.DataFrame(rows).to_csv(arguments.to, index=False, float_format="%.3g")


def compare_statistics(images: Tensor) -> Iterator[dict[str, Any]]:
    """Yield the power of each statistic at each stage on each background."""
    network = build_backbone("tf_efficientnet_lite0", "efficientnet_lite0").eval()
    size = images.shape[-2], images.shape[-1]
    for background, shown in (("natural", images), ("grey", MID_GREY)):
        fields = reverse_correlation(network, STAGES, size, shown, target=TARGET, pairs=PAIRS)
        for stage in STAGES:
            axis, random = strongest_axis(fields[stage].blocks), np.random.default_rng(0)
            shapes = (*RIVAL_SHAPES, *map(str, PLANTED_SURROUNDS))
            planted = {s: statistics(plant_fields(s, axis, PLANTINGS, random)) for s in shapes}
            for name in planted[shapes[0]]:
                of_shape = {shape: values[name] for shape, values in planted.items()}
                half = PLANTINGS // 2
                threshold = max(
                    float(np.quantile(of_shape[shape][:half], 1 - FALSE_ALARM_RATE))
                    for shape in RIVAL_SHAPES
                )
                if name == "fixed thresholds":
                    threshold = 0.5
                found = {s: float((v[half:] > threshold).mean()) for s, v in of_shape.items()}
                yield {
                    "background": background,
                    "stage": stage,
                    "reliability": fields[stage].median,
                    "statistic": name,
                    "false_alarms": max(found[shape] for shape in RIVAL_SHAPES),
                    **{f"power_{k:g}": found[str(k)] for k in PLANTED_SURROUNDS},
                }


def statistics(field: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Return the statistics of fields (P, h, w), larger for centre-surround, (P,) each."""
    fits = fit_field_models(field)
    csi, left = centre_surround_index(field), 1 - fits.r2
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = np.log(np.fmin(left[:, 0], left[:, 2]) / left[:, 1])
    aicc_gain = np.fmin(fits.aicc[:, 0], fits.aicc[:, 2]) - fits.aicc[:, 1]
    named = {
        "CSI x log SSE ratio": centre_surround_evidence(field),
        "CSI": csi,
        "log SSE ratio": gain,
        "AICc gain": aicc_gain,
        "CSI x AICc gain": csi * np.maximum(aicc_gain, 0),
        "fixed thresholds": is_centre_surround(fits).astype(np.float64),
    }
    return {name: np.nan_to_num(values, nan=-np.inf) for name, values in named.items()}


if __name__ == "__main__":
    main()
