"""Claims step of a run: measurements of the network and its controls, and the verdict."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from torch import nn

from deepsal.atomic import write_json
from deepsal.data.batch import FixationImages
from deepsal.rf import store
from deepsal.rf.claims import controls
from deepsal.rf.claims.measurements import NetworkMeasurements, measure_network
from deepsal.rf.claims.rules import CLAIM_STATEMENTS, ClaimRow
from deepsal.rf.claims.verdict import WITHDRAWAL_NOTE, decide_claims
from deepsal.rf.geometry import measure_geometry
from deepsal.rf.hooks import unit_numbers
from deepsal.statistics import Interval
from deepsal.vocabulary import STAGES

LOG = logging.getLogger(__name__)
CHANGE_CLAIMS = ("P1", "P2")


class ClaimEvaluation:
    """Measurement of a backbone before and after training and of controls, and the verdict.

    Writes `verdict.json` into the run folder. `deepsal.rf.decide_claims` states claims and rules.

    Args:
        folder: the run folder.
        stages: submodules of the backbone.
        units: the first so many channels of each stage, or their numbers.
        images: number of validation images for the fields, 2 or more.
        window: side of a field in pixels.
        seeds: of the random controls; with two, the similarity of two random networks is known.
        other_task: a backbone of the same architecture with weights for another task, as one more
            control.
    """

    def __init__(
        self,
        folder: str | Path,
        stages: Sequence[str] = STAGES,
        units: int | Sequence[int] = 32,
        images: int = 8,
        window: int = 129,
        seeds: Sequence[int] = (0, 1),
        other_task: nn.Module | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.stages = list(stages)
        self.units = units
        self.images = images
        self.window = window
        self.seeds = list(seeds)
        self.other_task = other_task.eval() if other_task else None

    def __call__(self, before: Any, after: Sequence[Any], images: FixationImages) -> list[ClaimRow]:
        """Decide the claims, and write and return the verdict's rows.

        Args:
            before: the backbone before training.
            after: the backbone after training, one per seed. If its weights are those of `before`,
                the claims about change (P1, P2) are left out.
            images: the validation images.
        """
        channels = {stage: before.channels[stage] for stage in self.stages}
        units = unit_numbers(self.units, channels, "claims.units")
        geometry = {stage: measure_geometry(before, stage) for stage in self.stages}
        stack = torch.stack([images[i].image for i in range(min(self.images, len(images)))])

        def measure(name: str, network: nn.Module) -> NetworkMeasurements:
            LOG.info("measuring %s", name)
            chain = _clampable_stages(network)
            return measure_network(network, units, stack, geometry, self.window, chain)

        fingerprints = [store.weights_fingerprint(network) for network in [before, *after]]
        unchanged = set(fingerprints) == {fingerprints[0]}
        then = measure("the network before training", before)
        now = [then if unchanged else measure("the network after training", a) for a in after]
        networks = controls.control_networks(before, self.other_task, self.seeds)
        others = {name: measure(name, network) for name, network in networks.items()}
        rows = decide_claims(then, now, others)
        rows = [row for row in rows if not (unchanged and row.claim in CHANGE_CLAIMS)]
        self._write(rows, {"before": fingerprints[0], "after": fingerprints[1:]})
        return rows

    def _write(self, rows: Sequence[ClaimRow], weights: Mapping[str, Any]) -> None:
        options = {key: value for key, value in vars(self).items() if key != "folder"}
        options["other_task"] = self.other_task and store.weights_fingerprint(self.other_task)
        plain_rows = [{**row._asdict(), "effect": row.effect._asdict()} for row in rows]
        self.folder.mkdir(parents=True, exist_ok=True)
        verdict = {"note": WITHDRAWAL_NOTE, "weights": weights, **options, "rows": plain_rows}
        write_json(self.folder / "verdict.json", verdict)


def logged_effects(rows: Sequence[ClaimRow]) -> dict[str, float]:
    """Return the effects for a logger, such as `claims/conv5/csi`."""
    return {f"claims/{row.stage}/{row.measure}": row.effect.estimate for row in rows}


def verdict_table(rows: Sequence[ClaimRow]) -> Table:
    """Return the rows that are decided or compared with a reference, for 80 columns."""
    table = Table(title="The claims", box=SIMPLE, title_style="bold", title_justify="left")
    table.padding = 0
    table.pad_edge = False
    for column in ("", "stage", "measure", "effect [95 %]", "n", "against", ""):
        right = column in ("effect [95 %]", "n")
        table.add_column(column, justify="right" if right else "left", no_wrap=True)
    for row in (row for row in rows if row.reference or row.outcome):
        reference = f"{row.reference_estimate:.2f} {row.reference}" if row.reference else ""
        effect, count = _format_interval(row.effect), str(row.effect.count)
        table.add_row(row.claim, row.stage, row.measure, effect, count, reference, row.outcome)
    return table


def print_verdict(rows: Sequence[ClaimRow], console: Console | None = None) -> None:
    """Print the verdict, the statement of each claim, and the note on its reliability."""
    console = console or Console(highlight=False)
    console.print(verdict_table(rows))
    for claim in dict.fromkeys(row.claim for row in rows):
        console.print(f"{claim}: {CLAIM_STATEMENTS[claim]}")
    console.print(f"Note: {WITHDRAWAL_NOTE}")
    if others := sorted({row.measure for row in rows if not (row.reference or row.outcome)}):
        console.print(f"verdict.json also has {', '.join(others)}")


def _format_interval(effect: Interval) -> str:
    if effect.low != effect.low:
        return f"{effect.estimate:.2f}"
    return f"{effect.estimate:.2f} [{effect.low:.2f}, {effect.high:.2f}]"


def _clampable_stages(backbone: Any) -> list[nn.Module] | None:
    """Return a plain chain's stages and last pooling; None where the clamp is undefined."""
    plain = (nn.Conv2d, nn.ReLU, nn.MaxPool2d, nn.AvgPool2d, nn.Dropout, nn.Identity)
    stages = [stage for _, stage in backbone.stages()]
    leaves = [m for stage in stages for m in stage.modules() if type(m) is not nn.Sequential]
    if not all(isinstance(leaf, plain) for leaf in leaves):
        return None
    return [*stages, nn.MaxPool2d(2)]
