"""One look at a network's units: fields, numbers about them, files and pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import captum
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from deepsal.callbacks import field_pictures
from deepsal.data.batch import FixationImages
from deepsal.rf import store
from deepsal.rf.geometry import FieldGeometry, measure_geometry
from deepsal.rf.mapping.gradient_fields import ReceptiveFields, map_receptive_fields
from deepsal.rf.mapping.methods import FIELD_METHODS
from deepsal.rf.measures import profile
from deepsal.rf.measures.similarity import linear_cka, sample_activations
from deepsal.rf.measures.summary import field_change_measures
from deepsal.rf.patches import StrongestPatchRecorder, blank_image, centred_patches, noise_images
from deepsal.rf.tuning.battery import record_disk_responses
from deepsal.rf.tuning.indices import surround_suppression_index
from deepsal.statistics import finite_median
from deepsal.vocabulary import STAGES

PATCH_SOURCES = ("centred", "strongest", "blank", "noise")
LOGGED_MEASURES = ("correlation", "extent", "csi", "k")
"""Measures whose median over units is logged; all are stored with the fields, unit by unit."""
CKA_IMAGES = 16
"""Images on which activations are compared with the first look's."""


class FieldSnapshot:
    """Extracts, stores, measures and draws the fields of some units of some stages.

    Args:
        folder: the run folder; `fields/` and `figures/fields/` are made in it.
        stages: submodules of `network.backbone`.
        units: the first so many channels of each stage, or their numbers.
        patches: images per unit and source.
        sources: of patches: `centred` (the middle of the first images), `strongest` (the strongest
            responses now), `blank` (grey), `noise` (white noise).
        window: side of a stored field in pixels.
        method: of `deepsal.rf.map_receptive_fields`.
        components: of the covariance over patches.
    """

    def __init__(
        self,
        folder: Path,
        stages: Sequence[str],
        units: int | Sequence[int],
        patches: int,
        sources: Sequence[str],
        window: int,
        method: str,
        components: int,
    ) -> None:
        options = (
            ("stages", stages, STAGES),
            ("sources", sources, PATCH_SOURCES),
            ("method", [method], FIELD_METHODS),
        )
        for option, given, known in options:
            if unknown := [name for name in given if name not in known]:
                raise ValueError(f"rf.{option} has {unknown}; the choices are {list(known)}")
        self.folder = folder
        self.stages = list(stages)
        self.wanted = units
        self.patches = patches
        self.sources = list(sources)
        self.window = window
        self.method = method
        self.components = components
        self.units: dict[str, list[int]] = {}
        self.geometry: dict[str, FieldGeometry] = {}
        self.start: dict[str, ReceptiveFields] = {}
        self.images: dict[int, Tensor] = {}

    def choose(self, channels: Mapping[str, int]) -> None:
        """Choose the units of each stage, and read the first checkpoint's fields if there are."""
        for stage in self.stages:
            first = self.wanted
            wanted = range(min(first, channels[stage])) if isinstance(first, int) else first
            if not wanted or not 0 <= min(wanted) <= max(wanted) < channels[stage]:
                raise ValueError(
                    f"rf.units={self.wanted}: {stage} has units 0 … {channels[stage] - 1}"
                )
            self.units[stage] = list(wanted)
        if (first_file := self.file("epoch=000")).is_file():  # a continued run
            self.start = {
                s: store.load_fields(first_file, f"{s}/{self.sources[0]}") for s in self.stages
            }

    def empty_recorder(self) -> StrongestPatchRecorder:
        """Return an empty record of the strongest responses."""
        layers = {f"backbone.{stage}": units for stage, units in self.units.items()}
        return StrongestPatchRecorder(layers if "strongest" in self.sources else {}, self.patches)

    def file(self, checkpoint: str) -> Path:
        """Return where a checkpoint's fields are stored."""
        return self.folder / "fields" / f"{checkpoint}.npz"

    def __call__(
        self,
        network: nn.Module,
        images: FixationImages,
        recorder: StrongestPatchRecorder,
        checkpoint: str,
        about: Mapping[str, Any],
    ) -> tuple[dict[str, float], dict[str, Path]]:
        """Extract, store, measure and draw.

        Returns:
            Numbers such as `rf/conv4/extent`, and pictures such as `rf/conv4/centred`.
        """
        if not self.geometry:
            self.geometry = {s: measure_geometry(network, f"backbone.{s}") for s in self.stages}
        found: dict[str, ReceptiveFields] = {}
        numbers: dict[str, float] = {}
        each: dict[str, NDArray[Any]] = {}
        for stage in self.stages:
            for source in self.sources:
                found[f"{stage}/{source}"] = self._fields(network, stage, source, images, recorder)
            each |= self._measures(stage, found)
            if top := found.get(f"{stage}/strongest"):
                numbers[f"rf/{stage}/dead"] = float(np.mean(top.count == 0))
        each |= self._sizes(network, images)
        for stage in self.stages:
            numbers |= {
                f"rf/{stage}/{m}": finite_median(each[f"{stage}/measure/{m}"])
                for m in LOGGED_MEASURES
            }
            numbers[f"rf/{stage}/ssi"] = finite_median(
                surround_suppression_index(each[f"{stage}/disks"])
            )
        if checkpoint.startswith("epoch="):
            numbers |= self._similar(network, images)
        store.save_fields(self.file(checkpoint), found, {**self._about(network), **about}, each)
        return numbers, field_pictures.draw_field_grids(
            self.folder, found, self.file(checkpoint), images.degree
        )

    def finish(self, images: FixationImages) -> dict[str, Path]:
        """Draw what takes all checkpoints, or is drawn once; see `field_pictures`."""
        folder, degree = self.folder, images.degree
        pictures: dict[str, Path] = {}
        for stage in self.stages:
            pictures |= field_pictures.draw_field_evolution(folder, stage, self.sources[0], degree)
            if "strongest" in self.sources:
                pictures |= field_pictures.draw_patch_sheet(
                    folder, stage, partial(self._image, images), degree
                )
        return pictures

    def _fields(
        self,
        network: nn.Module,
        stage: str,
        source: str,
        dataset: FixationImages,
        recorder: StrongestPatchRecorder,
    ) -> ReceptiveFields:
        height, width = self._image(dataset, 0).shape[-2:]
        count = min(self.patches, len(dataset)) if source == "centred" else self.patches
        if source == "strongest":
            patches = recorder.patches(f"backbone.{stage}")
        else:
            patches = centred_patches(
                len(self.units[stage]),
                1 if source == "blank" else count,
                self.geometry[stage],
                (height, width),
            )
        if source in {"centred", "strongest"}:
            ids = sorted({i for i in patches[..., 0].ravel().tolist() if i >= 0}) or [0]
            images = torch.stack([self._image(dataset, i) for i in ids]) / 255
        else:
            made = blank_image if source == "blank" else None
            ids = list(range(1 if made else count))
            images = made((height, width)) if made else noise_images(count, (height, width))
        local = patches.copy()
        local[..., 0] = np.where(patches[..., 0] < 0, -1, np.searchsorted(ids, patches[..., 0]))
        found = map_receptive_fields(
            network,
            f"backbone.{stage}",
            images,
            local,
            self.units[stage],
            self.geometry[stage],
            self.window,
            self.method,
            components=self.components,
        )
        return replace(found, patches=patches)

    def _image(self, dataset: FixationImages, index: int) -> Tensor:
        if index not in self.images:
            self.images[index] = (dataset[index].image * 255).round().byte()
        return self.images[index]

    def _measures(
        self, stage: str, found: Mapping[str, ReceptiveFields]
    ) -> dict[str, NDArray[Any]]:
        """Return the measures of each unit, such as `conv4/measure/csi`."""
        now = found[f"{stage}/{self.sources[0]}"]
        start = self.start.setdefault(stage, now)
        measures = field_change_measures(now.field, start.field, self.geometry[stage])
        return {f"{stage}/measure/{name}": values for name, values in measures.items()}

    def _sizes(self, network: nn.Module, dataset: FixationImages) -> dict[str, NDArray[Any]]:
        """Measure what units answer to disks of growing size: `conv4/disks`, `conv4/radius`."""
        names = {stage: f"backbone.{stage}" for stage in self.stages}
        height, width = self._image(dataset, 0).shape[-2:]
        known = {names[stage]: of_stage for stage, of_stage in self.geometry.items()}
        shown = record_disk_responses(network, [*names.values()], (height, width), known)
        found: dict[str, NDArray[Any]] = {}
        for stage, name in names.items():
            found[f"{stage}/radius"], answers = shown[name]
            found[f"{stage}/disks"] = answers[self.units[stage]]
        return found

    def _similar(self, network: nn.Module, dataset: FixationImages) -> dict[str, float]:
        """Compare what stages respond to some images with what they did at the first look."""
        names = [f"backbone.{stage}" for stage in self.stages]
        images = [self._image(dataset, i) for i in range(min(CKA_IMAGES, len(dataset)))]
        now = sample_activations(network, names, torch.stack(images) / 255)
        first = self.folder / "fields" / "activation.npz"
        if not first.is_file():
            store.save_arrays(first, now)
        with np.load(first) as start:
            return {
                f"rf/{stage}/cka_to_start": linear_cka(start[name], now[name])
                for stage, name in zip(self.stages, names, strict=True)
            }

    def _about(self, network: nn.Module) -> dict[str, Any]:
        return {
            "method": self.method,
            "patches": self.patches,
            "sources": self.sources,
            "window": self.window,
            "stages": {
                stage: {**asdict(of_stage), "sigma": self._sigma(stage)}
                for stage, of_stage in self.geometry.items()
            },
            "weights": store.weights_fingerprint(network),
            "torch": torch.__version__,
            "captum": captum.__version__,
        }

    def _sigma(self, stage: str) -> float:
        return profile.checkerboard_sigma(self.geometry[stage].stride[0])
