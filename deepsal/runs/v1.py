"""Step v1 of a run: the stages of its network, and of controls, against macaque V1."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from deepsal.atomic import write_json
from deepsal.data.batch import FixationImages, first_images
from deepsal.rf import store
from deepsal.rf.claims.controls import untrained_copy
from deepsal.rf.geometry import measure_geometry
from deepsal.rf.tuning.grating_protocol import SHORT_PROTOCOL, GratingProtocol
from deepsal.rf.tuning.macaque_v1 import CELL_HISTOGRAMS
from deepsal.rf.tuning.texture_responses import texture_modulation
from deepsal.rf.tuning.v1_comparison import v1
from deepsal.runs.control_runs import TUNED, load_trainings
from deepsal.statistics import bootstrap_interval, finite_median
from deepsal.vocabulary import STAGES

LOG = logging.getLogger(__name__)
RUN_NETWORK, START_NETWORK = "after training", "before training"


class V1Evaluation:
    """Comparison of a backbone before and after training, and untrained, with macaque V1.

    Writes `v1.json` into the run folder; `deepsal.rf.v1` states stimuli and similarity.

    Args:
        folder: the run folder.
        stages: submodules of the backbone.
        pixels_per_degree: of visual angle.
        centres: stimulus centres along each axis, see `GratingProtocol`.
        short: whether the stimuli are those of `SHORT_PROTOCOL`, which leave out the preferred
            frequency and orientation.
        all_units: whether responsive units that are not centred are compared too.
        surround: whether contrast response and surrounds are measured too.
        backgrounds: number of validation images behind the stimuli; 0 for grey.
        textures: number of validation images as textures against phase-scrambled noise
            (`texture_modulation`); 0 to leave that out.
        seed: of the untrained control.
        controls: folders of finished trainings, measured too: other seeds, and controls
            (`control=shuffled_fixations`, `control=other_task`).
        run: conditions of the training; see `training_conditions`.
    """

    def __init__(
        self,
        folder: str | Path,
        stages: Sequence[str] = STAGES,
        pixels_per_degree: float = 28.0,
        centres: int = 1,
        short: bool = False,
        all_units: bool = True,
        surround: bool = False,
        backgrounds: int = 0,
        textures: int = 0,
        seed: int = 0,
        controls: Sequence[str | Path] = (),
        run: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.stages = list(stages)
        self.protocol = replace(
            SHORT_PROTOCOL if short else GratingProtocol(),
            pixels_per_degree=pixels_per_degree,
            centres=centres,
        )
        self.all_units = all_units
        self.surround = surround
        self.backgrounds = backgrounds
        self.textures = textures
        self.seed = seed
        self.controls = [str(control) for control in controls]
        self.run = dict(run or {})

    def __call__(
        self, before: Any, after: Any, images: FixationImages | None = None
    ) -> dict[str, Any]:
        """Compare the networks, and write and return `v1.json`.

        Args:
            before: the backbone before training.
            after: the backbone after training; left out if its weights are those of `before`.
            images: the validation images, where backgrounds or textures are asked for.
        """
        behind, textures = (
            first_images(images, count) if images is not None and count else None
            for count in (self.backgrounds, self.textures)
        )
        networks = {START_NETWORK: before, "untrained": untrained_copy(before, self.seed)}
        if store.weights_fingerprint(before) != store.weights_fingerprint(after):
            networks = {RUN_NETWORK: after, **networks}
        device = next(before.parameters()).device
        for training in load_trainings(self.controls, before, self.run, "v1.controls"):
            kind = RUN_NETWORK if training.control == TUNED else training.control
            networks[f"{kind}, seed {training.seed}"] = training.backbone.to(device).eval()
        geometry = {stage: measure_geometry(before, stage) for stage in self.stages}
        stages: dict[str, dict[str, Any]] = {}
        for name, network in networks.items():
            LOG.info("size tuning of the network %s", name)
            comparison = v1(
                network,
                self.stages,
                self.protocol,
                self.all_units,
                self.surround,
                geometry,
                backgrounds=behind,
            )
            stages[name] = {stage: layer.as_json() for stage, layer in comparison.items()}
            if textures is not None:
                for stage, of in texture_modulation(
                    network, self.stages, textures, geometry
                ).items():
                    layer = stages[name][stage]
                    layer["values"]["texture_modulation"] = of.modulation.tolist()
                    interval = bootstrap_interval(of.modulation)._asdict()
                    layer["median"]["texture_modulation"] = interval
                    layer["error"]["texture_modulation"] = finite_median(of.error)
        result = {
            "protocol": vars(self.protocol),
            "all_units": self.all_units,
            "backgrounds": self.backgrounds,
            "textures": self.textures,
            "weights": {name: store.weights_fingerprint(n) for name, n in networks.items()},
            "cells": {
                name: cells._asdict()
                for name, cells in CELL_HISTOGRAMS.items()
                if name in comparison[self.stages[0]].similarity
            },
            "networks": stages,
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / "v1.json", result)
        return result


def logged_similarities(result: Mapping[str, Any]) -> dict[str, float]:
    """Return the similarities of the run's network for a logger, such as `v1/conv3/ssi`."""
    stages = result["networks"].get(RUN_NETWORK) or result["networks"][START_NETWORK]
    return {
        f"v1/{stage}/{name}": value["estimate"]
        for stage, layer in stages.items()
        for name, value in layer["similarity"].items()
    }


def print_similarities(result: Mapping[str, Any], console: Console | None = None) -> None:
    """Print the similarity to macaque V1 and the median SSI of each stage of each network."""
    console = console or Console(highlight=False)
    for name, stages in result["networks"].items():
        table = Table(title=f"Similarity to macaque V1, {name}", box=SIMPLE, title_justify="left")
        table.padding = 0
        for column in ("stage", "units", *result["cells"], "median SSI"):
            right = column != "stage"
            table.add_column(column.replace("_", " "), justify="right" if right else "left")
        for stage, layer in stages.items():
            values = [layer["similarity"][key] for key in result["cells"]]
            cells = [_format_estimate(value) for value in [*values, layer["median"]["ssi"]]]
            table.add_row(stage, f"{layer['compared']}/{layer['units']}", *cells)
        console.print(table)
    scale = result["protocol"]["pixels_per_degree"]
    console.print(f"1: as similar as V1 cells to V1 cells. {scale:g} pixels per degree.")


def _format_estimate(interval: Mapping[str, float | None]) -> str:
    estimate = interval["estimate"]
    return "–" if estimate is None or math.isnan(estimate) else f"{estimate:.2f}"
