"""Silence units with a surround and matched units, and measure the change of NSS.

python experiments/necessity/measure.py RUN [RUN …] --data FOLDER [--to experiments/necessity]

RUNs are trainings with a ReadoutDecoder: several seeds of one or more depths or controls. Units are
ranked by one of two criteria: `field`, the evidence that a field is centre-surround, and `size`,
suppression by large gratings. A unit is silenced by setting its channel to its mean over validation
images and positions. Writes dose.csv (a row per training, criterion, stage and number of units),
expected.csv (the mean over the numbers) and units.csv (the units and how well they match).

Letters in shapes: S seeds, N images, U units of a stage, D draws of matched units, K numbers of
units.
"""

import argparse
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
import yaml
from numpy.typing import NDArray
from torch import Tensor

from deepsal.data import SaliencyDataModule, osie
from deepsal.data.batch import first_images
from deepsal.metrics.functional import nss
from deepsal.models import ReadoutDecoder, SaliencyNetwork, build_backbone
from deepsal.models.weights import load_run_weights
from deepsal.rf import reverse_correlation
from deepsal.rf.tuning.grating_protocol import SHORT_PROTOCOL, GratingProtocol
from deepsal.rf.tuning.grating_responses import record_grating_responses
from deepsal.statistics import crossed_bootstrap, holm_correction
from experiments.necessity.silenced_units import (
    FloatArray,
    field_evidence,
    match_units,
    size_evidence,
    unit_properties,
)

DOSES = {"conv4": (1, 2, 4, 8, 16, 32), "conv5": (1, 2, 4, 8, 16, 32, 64)}
DRAWS = 4
PROPERTIES = ("mean", "deviation", "weight_norm")


class Silencing(NamedTuple):
    """Changes of NSS of the test images of one network when units of one stage are silenced."""

    surround: FloatArray
    """(K, N), units that are first by the criterion."""
    matched: FloatArray
    """(K, D, N), matched units."""
    whole: FloatArray
    """(N,), all units."""
    units: dict[str, float]
    """Description of the units."""


def main() -> None:
    """Measure the runs and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run folders")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds osie/")
    parser.add_argument("--to", type=Path, default=Path(__file__).parent, help="output folder")
    arguments = parser.parse_args()
    data = SaliencyDataModule(osie(arguments.data))
    results: dict[str, list[dict[tuple[str, str], Silencing]]] = {}
    for run in arguments.runs:
        training, network = load_network(run)
        results.setdefault(training, []).append(silence_stages(network, data, DOSES))
        print(f"{run.name} is measured", flush=True)
    for name, table in result_tables(results, DOSES).items():
        table.to_csv(arguments.to / f"{name}.csv", index=False, float_format="%.4g")
        print(table.round(4).to_string(index=False))


def load_network(run: Path) -> tuple[str, SaliencyNetwork]:
    """Return the control or else the depth of a run, and its network at the best epoch."""
    config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    name, model = (config["backbone"].get(key) for key in ("name", "model"))
    backbone = build_backbone(name, None, model)
    network = SaliencyNetwork(backbone, partial(ReadoutDecoder, width=config["decoder"]["width"]))
    load_run_weights(network, run / "checkpoints" / "best.ckpt", "network.", name)
    return config["control"] or config["finetune"]["name"], network.eval()


@torch.no_grad()
def silence_stages(
    network: SaliencyNetwork,
    data: SaliencyDataModule,
    doses: Mapping[str, Sequence[int]],
    pairs: int = 512,
    plantings: int = 200,
    protocol: GratingProtocol = SHORT_PROTOCOL,
) -> dict[tuple[str, str], Silencing]:
    """Return the changes of NSS for each criterion and stage.

    Args:
        network: in eval mode.
        data: the mean responses are of its validation images, and NSS is of its test images.
        doses: numbers of units of each stage.
        pairs: of noise images on grey, see `reverse_correlation`.
        plantings: see `calibrate_rule`.
        protocol: of the gratings.
    """
    backbone = network.backbone
    val, test = data.images["val"], data.images["test"]
    seen = first_images(val, len(val))
    size = seen.shape[-2], seen.shape[-1]
    fields = reverse_correlation(backbone, [*doses], size, pairs=pairs)
    gratings = record_grating_responses(backbone, [*doses], protocol)
    outputs = [backbone(part) for part in seen.split(16)]
    samples = (test[i] for i in range(len(test)))
    tested = [(backbone(s.image[None]), s.fixations[None]) for s in samples]
    intact = score_silenced(network, tested, "conv5", [], torch.zeros(0))
    results = {}
    for stage, numbers in doses.items():
        response = torch.cat([output[stage] for output in outputs])
        properties = unit_properties(backbone.get_submodule(stage), response)
        score = partial(score_silenced, network, tested, stage, mean=response.mean((0, 2, 3)))
        whole = score(units=range(len(properties))) - intact
        for criterion, (evidence, description) in {
            "field": field_evidence(fields[stage], plantings),
            "size": size_evidence(gratings[stage]),
        }.items():
            order = np.argsort(-np.nan_to_num(evidence, nan=-np.inf), kind="stable")
            chosen = order[: max(numbers)]
            matched = [match_units(properties, chosen, seed) for seed in range(DRAWS)]
            drawn = np.concatenate(matched)
            results[criterion, stage] = Silencing(
                np.stack([score(units=chosen[:k]) for k in numbers]) - intact,
                np.stack([[score(units=draw[:k]) for draw in matched] for k in numbers]) - intact,
                whole,
                {
                    **description,
                    "evidence": float(np.nanmedian(evidence[chosen])),
                    "evidence_matched": float(np.nanmedian(evidence[drawn])),
                    **{
                        f"{name}_difference": float(
                            np.mean([values[chosen] - values[draw] for draw in matched])
                        )
                        for name, values in zip(PROPERTIES, properties.T, strict=True)
                    },
                    "nss": float(intact.mean()),
                },
            )
    return results


def score_silenced(
    network: SaliencyNetwork,
    tested: Sequence[tuple[Mapping[str, Tensor], Tensor]],
    stage: str,
    units: Sequence[int] | NDArray[np.int64],
    mean: Tensor,
) -> FloatArray:
    """Return the NSS of each image while units of a stage are silenced, (N,).

    Args:
        network: in eval mode.
        tested: outputs of all stages, and counts of fixations (1, H, W), of each image.
        stage: conv1 … conv5; later stages are computed again.
        units: channels.
        mean: (U,), the value of each channel that is silenced.
    """
    later = [(name, module) for name, module in network.backbone.stages() if name > stage]
    scores = []
    for outputs, fixations in tested:
        features = dict(outputs)
        x = features[stage] = features[stage].clone()
        x[:, units] = mean[units, None, None]
        for name, module in later:
            x = features[name] = module(x)
        logits = network.decoder(features)
        log_density = network.finish(logits, (fixations.shape[-2], fixations.shape[-1]))
        scores.append(float(nss(log_density, fixations)))
    return np.array(scores)


def result_tables(
    results: Mapping[str, Sequence[Mapping[tuple[str, str], Silencing]]],
    doses: Mapping[str, Sequence[int]],
) -> dict[str, pd.DataFrame]:
    """Return the tables `dose`, `expected` and `units`.

    Intervals are over seeds and images (`crossed_bootstrap`); those of matched units and of
    differences have the error of the draws too. `smallest_seen` is the difference that would be
    found in 80 % of such studies. p is adjusted over the rows of `expected` by Holm's method.

    Args:
        results: `{training: [{(criterion, stage): changes} of each seed]}`.
        doses: numbers of units of each stage.
    """
    rows, whole, units = [], [], []
    for training, seeds in results.items():
        for criterion, stage in seeds[0]:
            numbers, of = doses[stage], [seed[criterion, stage] for seed in seeds]
            surround = np.stack([s.surround for s in of])
            matched = np.stack([s.matched for s in of])
            key = {"training": training, "criterion": criterion, "stage": stage}
            for place, k in enumerate(numbers):
                row = compare_changes(surround[:, place], matched[:, place])
                rows.append({**key, "units": k, **row})
            row = compare_changes(surround.mean(1), matched.mean(1))
            change = crossed_bootstrap(np.stack([s.whole for s in of]), np.nanmean).interval
            whole.append({**key, **row, "all_units": change.estimate})
            units += [{**key, "run": n, **s.units} for n, s in enumerate(of)]
    expected = pd.DataFrame(whole)
    expected["p"] = holm_correction(expected["p"].to_numpy())
    return {
        "dose": pd.DataFrame(rows).drop(columns="p"),
        "expected": expected,
        "units": pd.DataFrame(units),
    }


def compare_changes(surround: FloatArray, matched: FloatArray) -> dict[str, float]:
    """Return the mean changes of NSS and their difference, with intervals.

    Args:
        surround: (S, N).
        matched: (S, D, N).
    """
    seeds, draws = matched.shape[:2]
    error = float(matched.mean(2).std(1, ddof=1).mean() / np.sqrt(draws * seeds))
    mean = matched.mean(1)
    row: dict[str, float] = {}
    for name, values, extra in (
        ("surround", surround, 0.0),
        ("matched", mean, error),
        ("difference", surround - mean, error),
    ):
        interval, row["p"] = crossed_bootstrap(values, np.nanmean, extra_error=extra)
        row |= interval.as_columns(name)
    row["smallest_seen"] = interval.smallest_seen  # of the difference
    return row


if __name__ == "__main__":
    main()
