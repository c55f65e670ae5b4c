"""Claims step of a run: measurements of the network and its controls, and the verdict."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from torch import Tensor, nn

from deepsal.atomic import write_json
from deepsal.data.batch import FixationImages, first_images
from deepsal.models.backbone import Backbone
from deepsal.rf import store
from deepsal.rf.backprojection.clamp import clampable_chain
from deepsal.rf.claims.controls import built_in_control
from deepsal.rf.claims.measurement_files import MeasurementFiles
from deepsal.rf.claims.measurements import BACKGROUNDS, NetworkMeasurements, measure_network
from deepsal.rf.claims.rules import (
    CLAIM_STATEMENTS,
    ClaimRow,
    claims_without_stage,
    stages_of_claim,
)
from deepsal.rf.claims.verdict import decide_claims, describe_networks
from deepsal.rf.geometry import measure_geometry
from deepsal.rf.hooks import unit_numbers
from deepsal.rf.tuning.grating_protocol import SHORT_PROTOCOL
from deepsal.runs.control_runs import TUNED, FinishedTraining, group_by_control, load_trainings
from deepsal.vocabulary import STAGES

LOG = logging.getLogger(__name__)
FIELD_CLAIMS = frozenset({"P1", "P2", "P3"})
"""Claims about fields; the others are about back-projected patterns."""
MEASUREMENT_OPTIONS = (
    *("names", "stages", "units", "backgrounds", "images", "pairs", "target", "window"),
    *("plantings", "tuning"),
)
"""Options on which the measurements of a network depend."""
SEEDLESS_CONTROLS = ("bn_only",)
"""Built-in controls that are the same network for every seed."""


class ClaimEvaluation:
    """Measurement of a backbone before and after training and of controls, and the verdict.

    Writes `verdict.json` into the run folder. `deepsal.rf.decide_claims` states claims and rules.
    The measurements of each network are in its folder `measured` until then, so that an interrupted
    evaluation resumes behind the last network that was measured.

    Args:
        folder: the run folder.
        stages: submodules of the backbone, in any order. Each is judged by the claims that are
            about it; a claim about none of them is not decided, and `left_out` says so.
        units: the first so many channels of each stage, or their numbers; None for all.
        images: number of validation images behind the noise.
        pairs: largest number of pairs of noise images per stage and background.
        target: median reliability at which a stage stops.
        window: largest side of a field in pixels; None: as `reverse_correlation` chooses.
        plantings: planted fields per shape that calibrate the rule of P3.
        tuning: whether size tuning by gratings is measured too, with `SHORT_PROTOCOL`.
        built_in: controls that are made here, of `BUILT_IN_CONTROLS`.
        controls: folders of finished trainings, or of sweeps that hold them: controls
            (`control=shuffled_fixations`, `control=other_task`), and other seeds of the network
            that is judged.
        run: conditions of the training that is judged; see `training_conditions`.
        names: claims to decide. Only what they need is measured: fields of the stages that P1 to P3
            are about; the width of conv5's patterns for P4; for P5 the responses to the patterns of
            all stages, which inform about the earlier ones.
        backgrounds: of the noise, of `BACKGROUNDS`.

    Attributes:
        left_out: `{claim: sentence}` of the claims in `names` that are not decided.
        networks: of `describe_networks`, after the verdict.
    """

    def __init__(
        self,
        folder: str | Path,
        stages: Sequence[str] = STAGES,
        units: int | Sequence[int] | None = None,
        images: int = 64,
        pairs: int = 1024,
        target: float = 0.9,
        window: int | None = None,
        plantings: int = 200,
        tuning: bool = True,
        built_in: Sequence[str] = ("untrained", "bn_only", "displaced", "weights_only"),
        controls: Sequence[str | Path] = (),
        run: Mapping[str, Any] | None = None,
        names: Sequence[str] = tuple(CLAIM_STATEMENTS),
        backgrounds: Sequence[str] = BACKGROUNDS,
    ) -> None:
        self.folder = Path(folder)
        self.names = list(names)
        self.stages = sorted(stages, key=lambda stage: (*STAGES, stage).index(stage))
        self.units = units
        self.backgrounds = list(backgrounds)
        self.images = images
        self.pairs = pairs
        self.target = target
        self.window = window
        self.plantings = plantings
        self.tuning = tuning
        self.built_in = list(built_in)
        self.controls = [str(control) for control in controls]
        self.run = dict(run or {})
        known = [name for name in self.names if name in CLAIM_STATEMENTS]
        self.left_out = claims_without_stage(known, self.stages)
        self.networks: list[dict[str, Any]] = []

    @property
    def decided(self) -> list[str]:
        """Claims in `names` that are not left out."""
        return [name for name in self.names if name not in self.left_out]

    def __call__(
        self,
        before: Backbone,
        after: Backbone,
        images: FixationImages,
        tuned_images: FixationImages | None = None,
    ) -> list[ClaimRow]:
        """Decide the claims, and write and return the verdict's rows.

        Args:
            before: the backbone before training.
            after: the backbone after training.
            images: the validation images, behind the noise.
            tuned_images: the training images, for batch-norm statistics; None for `images`.

        Raises:
            ValueError: as `check_options`.
        """
        if clampable_chain(before) is None and not FIELD_CLAIMS.isdisjoint(self.decided):
            about = "is not decided: it is about chains of convolutions (alexnet, vgg16, vgg19)"
            patterns = [name for name in self.decided if name not in FIELD_CLAIMS]
            self.left_out |= {claim: f"{claim} {about}" for claim in patterns}
        own = FinishedTraining(self.folder, TUNED, int(self.run.get("seed", 0)), after)
        others = load_trainings(self.controls, before, self.run)
        trainings = group_by_control(others, own)
        device = next(before.parameters()).device
        groups: dict[str, list[nn.Module]] = {
            name: [training.backbone.to(device).eval() for training in group]
            for name, group in trainings.items()
        }
        seeds = [training.seed for training in trainings[TUNED]]
        groups |= self._built_in(before, groups[TUNED], seeds, tuned_images or images)
        options = {option: getattr(self, option) for option in MEASUREMENT_OPTIONS}
        files = MeasurementFiles(self.folder / "measured", before, options)
        seen = first_images(images, self.images)
        measured = self._measure(before, groups, seeds, seen, files)
        first, tuned = measured.pop("before")[0], measured.pop(TUNED)
        rows = decide_claims(first, tuned, measured, self.decided)
        named = {
            name if len(group) == 1 else f"{name}, seed {seed}": network
            for name, group in {"before": [first], TUNED: tuned, **measured}.items()
            for seed, network in zip(seeds, group, strict=False)
        }
        self.networks = describe_networks(named)
        after_names = [f"after, seed {seed}" for seed in seeds]
        judged = {"before": before, **dict(zip(after_names, groups[TUNED], strict=True))}
        self._write(rows, judged)
        files.remove()
        return rows

    def check_options(self, backbone: Backbone) -> dict[str, list[int]]:
        """Return the numbers of the units of each stage.

        Raises:
            ValueError: an unknown claim, background or stage, or a unit that a stage does not have;
                or all claims are about other stages, or about patterns, and the backbone is no
                plain chain.
        """
        for option, chosen, names in (
            ("names", self.names, [*CLAIM_STATEMENTS]),
            ("backgrounds", self.backgrounds, [*BACKGROUNDS]),
            ("stages", self.stages, [*STAGES]),
        ):
            if unknown := [name for name in chosen if name not in names]:
                raise ValueError(f"claims.{option} has {unknown}; choose of {names}")
        if not self.decided:
            raise ValueError(
                f"claims.stages={self.stages} decides nothing: {'. '.join(self.left_out.values())}"
            )
        if FIELD_CLAIMS.isdisjoint(self.decided) and clampable_chain(backbone) is None:
            raise ValueError(
                f"claims.names={self.decided}: P4 and P5 are about chains of convolutions "
                "(backbone=alexnet, vgg16 or vgg19); add P1, P2 or P3"
            )
        channels = {stage: backbone.channels[stage] for stage in self.stages}
        limit = max(channels.values()) if self.units is None else self.units
        return unit_numbers(limit, channels, "claims.units")

    def _built_in(
        self,
        before: Backbone,
        tuned: Sequence[nn.Module],
        seeds: Sequence[int],
        images: FixationImages,
    ) -> dict[str, list[nn.Module]]:
        groups = {}
        with torch.random.fork_rng([]):  # training images may be mirrored at random
            torch.manual_seed(0)
            seen = first_images(images, self.images)
        for kind in self.built_in:
            chosen = [*zip(tuned, seeds, strict=True)][: 1 if kind in SEEDLESS_CONTROLS else None]
            controls = [built_in_control(kind, before, after, seen, seed) for after, seed in chosen]
            networks = [network for network in controls if network is not None]
            if len(networks) == len(controls):
                groups[kind] = networks
        return groups

    def _measure(
        self,
        before: Backbone,
        groups: Mapping[str, Sequence[nn.Module]],
        seeds: Sequence[int],
        images: Tensor,
        files: MeasurementFiles,
    ) -> dict[str, list[NetworkMeasurements]]:
        """Measure all networks with the noise, cells and pairs of the first one."""
        units = self.check_options(before)
        asked = {
            claim: [stage for stage in self.stages if stage in stages_of_claim(claim)]
            for claim in self.decided
        }
        of_fields = {s for claim, stages in asked.items() if claim in FIELD_CLAIMS for s in stages}
        mapped = [stage for stage in self.stages if stage in of_fields]
        needed = self.stages if "P3" in asked and self.tuning else mapped
        geometry = {stage: measure_geometry(before, stage) for stage in needed}
        total, started = 1 + sum(map(len, groups.values())), monotonic()
        done: list[NetworkMeasurements] = []

        def measure(name: str, network: nn.Module) -> NetworkMeasurements:
            place = "network %d of %d, after %.0f s: %s"
            LOG.info(place, len(done) + 1, total, monotonic() - started, name)
            if measured := files.load(network):
                LOG.info("  measured before the interruption")
            else:
                measured = measure_network(
                    network,
                    units,
                    images,
                    geometry,
                    self.window,
                    clampable_chain(network),
                    pairs=self.pairs,
                    target=self.target,
                    shaped=asked.get("P3", []),
                    protocol=SHORT_PROTOCOL if self.tuning else None,
                    plantings=self.plantings,
                    repeat=done[0] if done else None,
                    backgrounds=self.backgrounds if mapped else [],
                    mapped=mapped,
                    reinjected=self.stages if "P5" in asked else [],  # those before conv5 inform
                    widened=asked.get("P4", []),
                )
                files.save(network, measured)
            done.append(measured)
            return measured

        return {
            "before": [measure("before training", before)],
            **{
                name: [
                    measure(f"{name}, seed {seed}", network)
                    for seed, network in zip(seeds, group, strict=False)
                ]
                for name, group in groups.items()
            },
        }

    def _write(self, rows: Sequence[ClaimRow], networks: Mapping[str, nn.Module]) -> None:
        hidden = ("folder", "networks")
        verdict = {
            "weights": {name: store.weights_fingerprint(n) for name, n in networks.items()},
            **{key: value for key, value in vars(self).items() if key not in hidden},
            "rows": [{**row._asdict(), "effect": row.effect._asdict()} for row in rows],
            "networks": self.networks,
        }
        write_json(self.folder / "verdict.json", verdict)


def logged_effects(rows: Sequence[ClaimRow]) -> dict[str, float]:
    """Return the effects for a logger, such as `claims/conv5/natural/similarity`."""
    return {
        "/".join(part for part in ("claims", r.stage, r.background, r.measure) if part): (
            r.effect.estimate
        )
        for r in rows
        if not r.measure.startswith("more ")
    }
