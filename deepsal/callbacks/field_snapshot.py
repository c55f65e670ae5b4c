"""Fields of some units at one checkpoint: mapped, measured, stored and drawn."""

from collections.abc import Mapping
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
from deepsal.callbacks.noise_fields import (
    NATURAL_IMAGES,
    PairedNoiseMapper,
    noise_change_measures,
)
from deepsal.callbacks.watch_options import WatchOptions
from deepsal.data.batch import FixationImages
from deepsal.rf import store
from deepsal.rf.geometry import FieldGeometry, measure_geometry
from deepsal.rf.hooks import unit_numbers
from deepsal.rf.mapping.gradient_fields import ReceptiveFields, map_receptive_fields
from deepsal.rf.mapping.noise_correlation import NonFiniteResponsesError
from deepsal.rf.mapping.noise_fields import NoiseFields, stored_noise_fields
from deepsal.rf.measures import profile
from deepsal.rf.measures.profile import FloatArray
from deepsal.rf.measures.reliability import noise_ceiling
from deepsal.rf.measures.similarity import linear_cka, sample_activations
from deepsal.rf.measures.summary import field_change_measures
from deepsal.rf.patches import StrongestPatchRecorder, blank_image, centred_patches, noise_images
from deepsal.rf.tuning.grating_indices import responsive_suppression, size_tuning_indices
from deepsal.rf.tuning.grating_protocol import SHORT_PROTOCOL
from deepsal.rf.tuning.grating_responses import record_grating_responses
from deepsal.statistics import finite_median

LOGGED_MEASURES = (
    *(name for of in ("correlation", "extent", "csi", "k") for name in (of, f"{of}_error")),
    "correlation_ceiling",
)
"""Measures whose median over watched units is logged. All are stored, unit by unit."""
CKA_IMAGES = 16
"""Number of images on which activations are compared with those of the first snapshot."""


class FieldSnapshot:
    """Maps, measures, stores and draws the fields of a run's watched units, once per checkpoint.

    Args:
        folder: the run folder. Files go to its `fields/` and `figures/fields/`.
        options: stages, units, patches and method.
    """

    def __init__(self, folder: Path, options: WatchOptions) -> None:
        self.folder = folder
        self.options = options
        self.sources = options.all_sources
        self.noise = PairedNoiseMapper(
            options.noise_sources, options.target, options.pairs, options.window
        )
        self.units: dict[str, list[int]] = {}
        self.geometry: dict[str, FieldGeometry] = {}
        self.start_fields: dict[str, NDArray[np.float32]] = {}
        self.start_reliability: dict[str, FloatArray] = {}
        self.start_blocks: dict[str, NDArray[np.float32]] = {}
        self.image_bytes: dict[int, Tensor] = {}

    def choose_units(self, channels: Mapping[str, int]) -> None:
        """Choose the units of each stage, and load a resumed run's fields of epoch 0.

        Args:
            channels: number of channels of each stage of the backbone.

        Raises:
            ValueError: a stage has no such unit.
        """
        stages, source = self.options.stages, self.sources[0]
        watched = {stage: channels[stage] for stage in stages}
        self.units = unit_numbers(self.options.units, watched, "rf.units")
        if (first := self.fields_file("epoch=000")).is_file():
            for stage in stages:
                entry, units = f"{stage}/{source}", self.units[stage]
                start = store.load_evolution(first.parent, entry, units, [first])
                self.start_fields[stage] = start.field[0]
                self.start_reliability[stage] = start.reliability[0]
            if self.noise.sources:
                self.noise.resume(first, stages)
            if self._blocks_file.is_file():
                with np.load(self._blocks_file) as file:
                    self.start_blocks = {entry: file[entry] for entry in file.files}

    def empty_recorder(self) -> StrongestPatchRecorder:
        """Return a recorder of the strongest responses that has seen no image."""
        layers = {f"backbone.{stage}": units for stage, units in self.units.items()}
        return StrongestPatchRecorder(
            layers if "strongest" in self.sources else {}, self.options.patches
        )

    def fields_file(self, checkpoint: str) -> Path:
        """Return the path of a checkpoint's stored fields, `fields/epoch=002.npz`."""
        return self.folder / "fields" / f"{checkpoint}.npz"

    def __call__(
        self,
        network: nn.Module,
        images: FixationImages,
        recorder: StrongestPatchRecorder,
        checkpoint: str,
        metadata: Mapping[str, Any],
    ) -> tuple[dict[str, float], dict[str, Path]]:
        """Map, measure, store and draw the fields of one checkpoint.

        Args:
            network: has the stages in its `backbone`.
            images: the validation images.
            recorder: the strongest responses to `images`.
            checkpoint: name of the stored file, such as `epoch=002`.
            metadata: entries of the stored description, such as the step and the seed.

        Returns:
            Medians over units, such as `rf/conv4/extent`, and figures, such as `rf/conv4/centred`.

        Raises:
            NonFiniteResponsesError: a stage's activations are not finite.
        """
        stages, sources = self.options.stages, self.sources
        activations = self._sample_activations(network, images)
        if not self.geometry:
            self.geometry = {s: measure_geometry(network, f"backbone.{s}") for s in stages}
        measured = self._measure_with_noise(network, images)
        watched = {entry: self.units[entry.partition("/")[0]] for entry in measured}
        fields: dict[str, store.StoredFields] = {**stored_noise_fields(measured, watched)}
        for stage in stages:
            for source in sources:
                if source not in self.noise.sources:
                    of_patches = self._map_fields(network, stage, source, images, recorder)
                    fields[f"{stage}/{source}"] = of_patches
        blocks = self._watched_blocks(fields, measured)
        if not self.start_fields:
            self.start_blocks = blocks
            if blocks and checkpoint.startswith("epoch="):
                store.save_arrays(self._blocks_file, blocks)
        arrays, numbers = self._size_tuning(network) if self.options.tuning else ({}, {})
        for stage in stages:
            measures, of_stage = self._measure_stage(stage, fields, measured, blocks)
            arrays |= {f"{stage}/measure/{name}": values for name, values in measures.items()}
            numbers |= {f"rf/{stage}/{name}": number for name, number in of_stage.items()}
        if checkpoint.startswith("epoch="):
            numbers |= self._cka_to_start(activations)
        file = self.fields_file(checkpoint)
        store.save_fields(file, fields, {**self._metadata(network), **metadata}, arrays)
        figures = field_pictures.draw_field_grids(
            self.folder, fields, file, images.pixels_per_degree
        )
        return numbers, figures

    def draw_summary_figures(self, images: FixationImages) -> dict[str, Path]:
        """Draw each stage's evolution, radial profiles and strongest patches, after training."""
        folder, sources = self.folder, self.sources
        image, degree = partial(self._image, images), images.pixels_per_degree
        figures: dict[str, Path] = {}
        for stage in self.options.stages:
            figures |= field_pictures.draw_field_evolution(folder, stage, sources[0], degree)
            if "strongest" in sources:
                figures |= field_pictures.draw_patch_sheet(folder, stage, image, degree)
        return figures

    def _measure_with_noise(
        self, network: nn.Module, dataset: FixationImages
    ) -> dict[str, NoiseFields]:
        """Measure all units with noise."""
        if not self.noise.sources:
            return {}
        count = min(NATURAL_IMAGES, len(dataset))
        images = torch.stack([self._image(dataset, i) for i in range(count)]) / 255
        return self.noise.measure(network, images, self.geometry)

    @property
    def _blocks_file(self) -> Path:
        """File of the first checkpoint's blocks, for errors of the change."""
        return self.folder / "fields" / "blocks.npz"

    def _watched_blocks(
        self, fields: Mapping[str, store.StoredFields], measured: Mapping[str, NoiseFields]
    ) -> dict[str, NDArray[np.float32]]:
        """Return the blocks of each stage's watched units on the first source, if it has any."""
        blocks = {}
        for stage, units in self.units.items():
            entry = f"{stage}/{self.sources[0]}"
            if entry in measured:
                blocks[entry] = measured[entry].blocks[:, units]
                continue
            of_patches = fields[entry]
            assert isinstance(of_patches, ReceptiveFields)
            if of_patches.blocks is not None:
                blocks[entry] = of_patches.blocks
        return blocks

    def _measure_stage(
        self,
        stage: str,
        fields: Mapping[str, store.StoredFields],
        measured: Mapping[str, NoiseFields],
        blocks: Mapping[str, NDArray[np.float32]],
    ) -> tuple[dict[str, FloatArray], dict[str, float]]:
        """Return the measures of a stage's watched units, and the numbers to log."""
        entry, units = f"{stage}/{self.sources[0]}", self.units[stage]
        current = store.field_at_pixels(fields[entry], units)
        start = self.start_fields.setdefault(stage, current)
        numbers: dict[str, float] = {}
        of_all = measured.get(entry, fields[entry]).reliability
        numbers["reliability"] = finite_median(of_all)
        if entry in measured:
            measures = noise_change_measures(measured[entry], units, self.start_blocks[entry])
        else:
            of_blocks = blocks.get(entry), self.start_blocks.get(entry)
            measures = field_change_measures(current, start, self.geometry[stage], *of_blocks)
            measures["reliability"] = of_all
            first = self.start_reliability.setdefault(stage, of_all)
            measures["correlation_ceiling"] = noise_ceiling(first, of_all)
        if strongest := fields.get(f"{stage}/strongest"):
            assert isinstance(strongest, ReceptiveFields)
            numbers["dead"] = float(np.mean(strongest.count == 0))
        for name in LOGGED_MEASURES:
            if name in measures:
                numbers[name] = finite_median(measures[name])
        return measures, numbers

    def _map_fields(
        self,
        network: nn.Module,
        stage: str,
        source: str,
        dataset: FixationImages,
        recorder: StrongestPatchRecorder,
    ) -> ReceptiveFields:
        layer, units, geometry = f"backbone.{stage}", self.units[stage], self.geometry[stage]
        height, width = self._image(dataset, 0).shape[-2:]
        count = self.options.patches
        if source == "strongest":
            patches = recorder.patches(layer)
        else:
            count = {"centred": min(count, len(dataset)), "blank": 1}.get(source, count)
            patches = centred_patches(len(units), count, geometry, (height, width))
        ids = sorted({*patches[..., 0].ravel().tolist()} - {-1}) or [0]
        if source == "blank":
            images = blank_image((height, width))
        elif source == "noise":
            images = noise_images(count, (height, width))
        else:
            images = torch.stack([self._image(dataset, i) for i in ids]) / 255
        local = patches.copy()
        local[..., 0] = np.where(patches[..., 0] < 0, -1, np.searchsorted(ids, patches[..., 0]))
        fields = map_receptive_fields(
            network,
            layer,
            images,
            local,
            units,
            geometry,
            self.options.window,
            self.options.patch_method,
            average=not self.noise.sources,  # else that is what noise measures, and better
        )
        return replace(fields, patches=patches)

    def _image(self, dataset: FixationImages, index: int) -> Tensor:
        if index not in self.image_bytes:
            self.image_bytes[index] = (dataset[index].image * 255).round().byte()
        return self.image_bytes[index]

    def _size_tuning(self, network: nn.Module) -> tuple[dict[str, NDArray[Any]], dict[str, float]]:
        """Return the size tuning of watched units, and medians over all responsive units.

        Arrays: `conv4/radius` (R,) pixels; `conv4/gratings` (U, R), at the unit's best one;
        `conv4/disks` (U, 2, R), bright and dark, minus the response to grey, before the rectifier;
        and `conv4/measure/ssi_grating` and `conv4/measure/ssi` (U,).
        """
        geometry = {f"backbone.{stage}": self.geometry[stage] for stage in self.options.stages}
        responses = record_grating_responses(
            network, [*geometry], SHORT_PROTOCOL, geometry=geometry
        )
        radius = np.array(SHORT_PROTOCOL.radius) * SHORT_PROTOCOL.pixels_per_degree
        arrays: dict[str, NDArray[Any]] = {}
        numbers: dict[str, float] = {}
        for layer, of in responses.items():
            stage = layer.removeprefix("backbone.")
            units = self.units[stage]
            arrays[f"{stage}/radius"] = radius
            arrays[f"{stage}/disks"] = (of.disks - of.blank[:, None, None])[units]
            tuning = size_tuning_indices(of)
            arrays[f"{stage}/gratings"] = tuning.curve[units]
            suppression = responsive_suppression(tuning)
            for name, index in {"ssi_grating": "ssi", "ssi": "disk_ssi"}.items():
                arrays[f"{stage}/measure/{name}"] = suppression[index][units]
                numbers[f"rf/{stage}/{name}"] = finite_median(suppression[index])
        return arrays, numbers

    def _sample_activations(
        self, network: nn.Module, dataset: FixationImages
    ) -> dict[str, NDArray[np.float32]]:
        """Return samples of each stage's activations on the first images."""
        layers = [f"backbone.{stage}" for stage in self.options.stages]
        images = [self._image(dataset, i) for i in range(min(CKA_IMAGES, len(dataset)))]
        activations = sample_activations(network, layers, torch.stack(images) / 255)
        for stage, layer in zip(self.options.stages, layers, strict=True):
            if not np.isfinite(activations[layer]).all():
                raise NonFiniteResponsesError(f"{stage} gives values that are not finite")
        return activations

    def _cka_to_start(self, activations: Mapping[str, NDArray[np.float32]]) -> dict[str, float]:
        """Return the CKA of each stage's activations with those of the first snapshot."""
        first = self.folder / "fields" / "activation.npz"
        if not first.is_file():
            store.save_arrays(first, activations)
        with np.load(first) as start:
            return {
                f"rf/{stage}/cka_to_start": linear_cka(
                    start[f"backbone.{stage}"], activations[f"backbone.{stage}"]
                )
                for stage in self.options.stages
            }

    def _metadata(self, network: nn.Module) -> dict[str, Any]:
        return asdict(self.options) | {
            "sources": self.sources,
            "noise_sources": self.noise.sources,
            "patch_method": self.options.patch_method,
            "units": self.units,
            "stages": {
                stage: {**asdict(of), "sigma": profile.checkerboard_sigma(of.stride[0])}
                for stage, of in self.geometry.items()
            },
            "weights": store.weights_fingerprint(network),
            "torch": torch.__version__,
            "captum": captum.__version__,
        }
