"""Silence units with a surround and matched units, and draw the change of NSS.

python experiments/necessity/figure.py RUN [RUN …] --data FOLDER [--to experiments/necessity]

RUNs are trainings with a ReadoutDecoder: several seeds of one or more depths or controls. Units are
ranked by one of two criteria: `field`, the evidence that a field is centre-surround, and `size`,
suppression by large gratings. A unit is silenced by setting its channel to its mean over validation
images and positions. Writes dose.csv (a row per training, criterion, stage and number of units),
expected.csv (the mean over the numbers), units.csv (the units and how well they match) and
figure.png. Without RUNs only the figure is drawn.

Letters in shapes: S seeds, N images, U units of a stage, D draws of matched units, K numbers of
units.
"""

import argparse
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
import yaml
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor, nn

from deepsal.data import SaliencyDataModule, osie
from deepsal.metrics.functional import nss
from deepsal.models import ReadoutDecoder, SaliencyNetwork, build_backbone
from deepsal.models.weights import load_run_weights
from deepsal.rf import reverse_correlation, size_tuning_indices
from deepsal.rf.claims.calibration import (
    calibrate_rule,
    centre_surround_evidence,
    strongest_axis,
)
from deepsal.rf.mapping.noise_fields import NoiseFields
from deepsal.rf.tuning.grating_protocol import SHORT_PROTOCOL, GratingProtocol, GratingResponses
from deepsal.rf.tuning.grating_responses import record_grating_responses
from deepsal.rf.tuning.size_tuning import SUPPRESSED
from deepsal.statistics import crossed_bootstrap, holm_correction

FloatArray = NDArray[np.float64]
DOSES = {"conv4": (1, 2, 4, 8, 16, 32), "conv5": (1, 2, 4, 8, 16, 32, 64)}
DRAWS = 4
NEAREST = 3
"""A matched unit is drawn from so many nearest ones."""
PROPERTIES = ("mean", "deviation", "weight_norm")
DETECTED = 2.8
"""Effects of so many standard errors are found in 80 % of studies, at p < .05."""
CRITERIA = {"field": "strongest centre-surround field", "size": "strongest size suppression"}
LABELS = {
    "none": "decoder alone",
    "all": "all stages",
    "shuffled_fixations": "shuffled fixations",
    "other_task": "edges",
}
"""Trainings, by depth or control."""


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
    """Measure the runs, write the tables and draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("runs", type=Path, nargs="*", metavar="RUN", help="run folders")
    parser.add_argument("--data", type=Path, help="folder that holds osie/")
    parser.add_argument("--to", type=Path, default=Path(__file__).parent, help="output folder")
    arguments = parser.parse_args()
    if arguments.runs:
        if arguments.data is None:
            parser.error("--data is missing: set it to the folder that holds osie/")
        data = SaliencyDataModule(osie(arguments.data))
        results: dict[str, list[dict[tuple[str, str], Silencing]]] = {}
        for run in arguments.runs:
            training, network = load_network(run)
            results.setdefault(training, []).append(silence_stages(network, data, DOSES))
            print(f"{run.name} is measured", flush=True)
        for name, table in result_tables(results, DOSES).items():
            table.to_csv(arguments.to / f"{name}.csv", index=False, float_format="%.4g")
            print(table.round(4).to_string(index=False))
    tables = (pd.read_csv(arguments.to / f"{name}.csv") for name in ("dose", "expected"))
    draw_doses(*tables).savefig(arguments.to / "figure.png")


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
    seen = torch.stack([sample.image for sample in iterate(data, "val")])
    size = seen.shape[-2], seen.shape[-1]
    fields = reverse_correlation(backbone, [*doses], size, pairs=pairs)
    gratings = record_grating_responses(backbone, [*doses], protocol)
    outputs = [backbone(part) for part in seen.split(16)]
    tested = [(backbone(s.image[None]), s.fixations[None]) for s in iterate(data, "test")]
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


def field_evidence(fields: NoiseFields, plantings: int) -> tuple[FloatArray, dict[str, float]]:
    """Return the evidence of units for a centre-surround field, (U,), and a description of it.

    The evidence of a unit whose field is not reliable is NaN.
    """
    axis = strongest_axis(fields.blocks)
    evidence = centre_surround_evidence(axis.blocks.mean(0))
    evidence[~axis.reliable] = np.nan
    rule = calibrate_rule(axis, plantings)
    called = (evidence[axis.reliable] > rule.threshold).mean() if rule else np.nan
    return evidence, {
        "reliability": fields.median,
        "usable": float(axis.reliable.mean()),
        "called": float(called),
        "power_0.55": rule.decisive_power if rule else np.nan,
    }


def size_evidence(responses: GratingResponses) -> tuple[FloatArray, dict[str, float]]:
    """Return the suppression of units by large gratings, (U,), and a description of it.

    The index is that of the responses before the rectifier, where an inhibited unit exceeds 1;
    after it half of the units of deep stages have 1. Units that do not respond have NaN.
    """
    tuning = size_tuning_indices(responses)
    linear = size_tuning_indices(responses, rectified=False).index["ssi"]
    called = (tuning.index["ssi"][tuning.responsive] >= SUPPRESSED).mean()
    description = {"usable": float(tuning.responsive.mean()), "called": float(called)}
    return np.where(tuning.responsive, linear, np.nan), description


def iterate(data: SaliencyDataModule, split: str) -> Any:
    """Yield the samples of a split."""
    return (data.images[split][i] for i in range(len(data.images[split])))


def unit_properties(stage: nn.Module, response: Tensor) -> FloatArray:
    """Return the properties by which units are matched, (U, 3), each of variance 1 over units.

    They are the mean response, the logarithm of its standard deviation over images and positions,
    and the logarithm of the norm of the unit's weights in the last convolution of the stage, with
    batch norm folded in.

    Args:
        stage: the stage; its last convolution writes its channels.
        response: (N, U, h, w).
    """
    convolution = [m for m in stage.modules() if isinstance(m, nn.Conv2d)][-1]
    norm = convolution.weight.flatten(1).norm(dim=1)
    scales = [m for m in stage.modules() if isinstance(m, nn.BatchNorm2d)]
    if scales and scales[-1].running_var is not None:
        norm = norm * scales[-1].weight.abs() / (scales[-1].running_var + scales[-1].eps).sqrt()
    logs = [response.std((0, 2, 3)).clamp(min=1e-8).log(), norm.clamp(min=1e-8).log()]
    values = torch.stack([response.mean((0, 2, 3)), *logs], 1).double()
    standardised: FloatArray = ((values - values.mean(0)) / values.std(0)).numpy()
    return standardised


def match_units(properties: FloatArray, chosen: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Draw for each chosen unit another unit of similar properties, none twice.

    Args:
        properties: (U, 3).
        chosen: units, which are not drawn.
        seed: of the draw among the nearest units that are left.
    """
    random = np.random.default_rng(seed)
    left = np.setdiff1d(np.arange(len(properties)), chosen)
    drawn = np.zeros(len(chosen), np.int64)
    for place in random.permutation(len(chosen)):
        distance = np.square(properties[left] - properties[chosen[place]]).sum(1)
        drawn[place] = left[random.choice(distance.argsort()[:NEAREST])]
        left = left[left != drawn[place]]
    return drawn


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
        estimate = crossed_bootstrap(values, np.nanmean, extra_error=extra)
        interval, row["p"] = estimate
        row |= {name: interval.estimate, f"{name}_low": interval.low, f"{name}_high": interval.high}
    row["smallest_seen"] = DETECTED * (row["difference_high"] - row["difference_low"]) / 3.92
    return row


def draw_doses(dose: pd.DataFrame, expected: pd.DataFrame) -> Figure:
    """Draw NSS against the number of silenced units, and the difference in each training.

    Args:
        dose: a row per number of units; the curves are of the first training.
        expected: the mean over the numbers.
    """
    criteria, stages = (pd.unique(expected[key]).tolist() for key in ("criterion", "stage"))
    size = (3.4 * (len(stages) + 1), 2.7 * len(criteria))
    figure = Figure(figsize=size, dpi=120, layout="constrained", facecolor="white")
    axes = figure.subplots(len(criteria), len(stages) + 1, squeeze=False)
    for row, criterion in zip(axes, criteria, strict=True):
        of_criterion = dose[dose["criterion"] == criterion]
        for axis, stage in zip(row, stages, strict=False):
            draw_curves(axis, of_criterion[of_criterion["stage"] == stage], criterion)
        draw_trainings(row[-1], expected[expected["criterion"] == criterion])
        row[0].set_ylabel("change of NSS", fontsize=8)
        row[0].legend(fontsize=8, frameon=False, loc="lower left")
    for axis in axes.ravel():
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    return figure


def draw_curves(axis: Axes, of: pd.DataFrame, criterion: str) -> None:
    """Draw the changes of the first training against the number of silenced units."""
    training = of["training"].iloc[0]
    of = of[of["training"] == training]
    for name, label, colour, shift in (
        ("surround", CRITERIA[criterion], "#9e2a2b", 0.96),
        ("matched", "matched units", "#33658a", 1.04),
    ):
        ends = np.abs(of[[f"{name}_low", f"{name}_high"]].to_numpy() - of[[name]].to_numpy()).T
        axis.errorbar(of["units"] * shift, of[name], ends, fmt="o-", ms=4, c=colour, label=label)
    axis.set_xscale("log", base=2)
    axis.set_xticks(of["units"], [str(k) for k in of["units"]])
    axis.axhline(0, color="0.8", lw=0.8, zorder=0)
    axis.set_title(f"{of['stage'].iloc[0]}, {LABELS.get(training, training)} tuned", fontsize=9)
    axis.set_xlabel("silenced units", fontsize=8)


def draw_trainings(axis: Axes, of: pd.DataFrame) -> None:
    """Draw the difference to matched units in each training and stage."""
    trainings = pd.unique(of["training"]).tolist()
    for (stage, rows), marker in zip(of.groupby("stage"), "os", strict=False):
        ends = np.abs(
            rows[["difference_low", "difference_high"]].to_numpy() - rows[["difference"]].to_numpy()
        )
        place = np.array([trainings.index(name) for name in rows["training"]])
        shift = 0.1 if marker == "s" else -0.1
        axis.errorbar(
            rows["difference"], place + shift, xerr=ends.T, fmt=marker, ms=4, capsize=2, label=stage
        )
    axis.axvline(0, color="0.8", lw=0.8, zorder=0)
    axis.set_yticks(range(len(trainings)), [LABELS.get(name, name) for name in trainings])
    axis.set_ylim(len(trainings) - 0.5, -0.5)
    axis.set_title("difference to matched units, NSS", fontsize=9)
    axis.legend(fontsize=8, frameon=False)


if __name__ == "__main__":
    main()
