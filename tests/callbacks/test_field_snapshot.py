from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import NeuronGradient

from deepsal.callbacks import field_snapshot
from deepsal.callbacks.field_snapshot import FieldSnapshot
from deepsal.callbacks.watch_options import WatchOptions
from deepsal.rf import map_receptive_fields, measure_geometry, store
from deepsal.rf.mapping.reverse_correlation import reverse_correlation
from deepsal.rf.patches import centred_patches
from deepsal.rf.tuning.grating_indices import size_tuning_indices
from deepsal.rf.tuning.grating_responses import record_grating_responses
from tests.conftest import NoTrace, datamodule, task
from tests.rf.tuning.support import SMALL


def snapshot_of(folder: Path, **options: Any) -> FieldSnapshot:
    settings: dict[str, Any] = {"stages": ["conv1", "conv3"], "units": 3, "patches": 2}
    settings |= {"window": 33, "tuning": False, **options}
    snapshot = FieldSnapshot(folder, WatchOptions(**settings))
    snapshot.choose_units(task().network.backbone.channels)
    return snapshot


def test_a_snapshot_stores_the_fields_that_the_library_maps_and_how(
    tmp_path: Path, leaves_no_trace: NoTrace
) -> None:
    network, images = task().network, datamodule().images["val"]
    snapshot = snapshot_of(tmp_path, sources=["centred"])
    recorder = snapshot.empty_recorder()
    with leaves_no_trace(network):
        numbers, figures = snapshot(network, images, recorder, "epoch=000", {"dataset": "toy"})
    geometry = measure_geometry(network, "backbone.conv3")
    patches = centred_patches(3, 2, geometry, (64, 96))
    whole = np.stack([images[i].image for i in range(2)])
    tensor = torch.as_tensor(whole)
    expected = map_receptive_fields(
        network, "backbone.conv3", tensor, patches, range(3), geometry, 33
    )
    fields = store.load_fields(snapshot.fields_file("epoch=000"), "conv3/centred")
    assert np.allclose(fields.field, expected.field, atol=1e-7)
    assert numbers["rf/conv3/correlation"] == pytest.approx(1)
    assert "rf/conv3/dead" not in numbers
    assert figures["rf/conv3/centred"].is_file()
    description = store.load_description(snapshot.fields_file("epoch=000"))
    assert description["dataset"] == "toy"
    assert description["method"] == "gradient"
    assert description["weights"] == store.weights_fingerprint(network)
    assert description["stages"]["conv3"]["size"] == [15, 15]


def test_size_tuning_is_that_of_the_library_and_of_all_units(
    tmp_path: Path, leaves_no_trace: NoTrace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(field_snapshot, "SHORT_PROTOCOL", SMALL)
    network, images = task().network, datamodule().images["val"]
    snapshot = snapshot_of(tmp_path, sources=["centred"], tuning=True)
    with leaves_no_trace(network):
        numbers, _ = snapshot(network, images, snapshot.empty_recorder(), "epoch=000", {})
    stored = store.load_stage_arrays(snapshot.fields_file("epoch=000"), "conv3")
    layers = ["backbone.conv1", "backbone.conv3"]
    responses = record_grating_responses(network, layers, SMALL)["backbone.conv3"]
    tuning = size_tuning_indices(responses)
    assert np.allclose(stored["gratings"], tuning.curve[:3], rtol=1e-5)
    assert stored["disks"].shape == (3, 2, 3)
    assert stored["radius"].tolist() == [14 * radius for radius in SMALL.radius]
    assert tuning.responsive.any()
    for name, index in (("ssi_grating", "ssi"), ("ssi", "disk_ssi")):
        median = np.nanmedian(tuning.index[index][tuning.responsive])
        assert numbers[f"rf/conv3/{name}"] == pytest.approx(median)


def test_fields_measured_with_noise_are_those_of_the_library(
    tmp_path: Path, leaves_no_trace: NoTrace
) -> None:
    network, images = task().network, datamodule().images["val"]
    snapshot = snapshot_of(tmp_path, method="reverse_correlation", pairs=16)
    with leaves_no_trace(network):
        numbers, _ = snapshot(network, images, snapshot.empty_recorder(), "epoch=000", {})
    background = torch.stack([images[i].image for i in range(len(images))])
    layers = ["backbone.conv1", "backbone.conv3"]
    for source, of in (("natural", (background * 255).round() / 255), ("grey", 0.5)):
        expected = reverse_correlation(network, layers, (64, 96), of, pairs=16, window=33)
        for stage in ("conv1", "conv3"):
            stored = store.load_noise_fields(snapshot.fields_file("epoch=000"), f"{stage}/{source}")
            measured = expected[f"backbone.{stage}"]
            assert (stored.cell, stored.pairs) == (measured.cell, measured.pairs)
            assert np.allclose(stored.field, measured.field, atol=1e-3 * measured.field.max())
            if source == "natural":
                assert numbers[f"rf/{stage}/reliability"] == measured.median
    about = store.load_description(snapshot.fields_file("epoch=000"))
    assert about["sources"] == ["natural", "grey", "strongest"]
    assert about["method"] == "reverse_correlation"


def test_with_noise_each_strongest_patch_has_its_captum_gradient(tmp_path: Path) -> None:
    network, images = task().network, datamodule().images["val"]
    snapshot = snapshot_of(tmp_path, method="reverse_correlation", pairs=16)
    recorder, whole = snapshot.empty_recorder(), torch.stack([image.image for image in images])  # type: ignore[attr-defined]
    whole = (whole * 255).round() / 255
    with torch.no_grad(), recorder.record_from(network.eval()):
        recorder.announce_images(range(len(whole)))
        network(whole)
    numbers, figures = snapshot(network, images, recorder, "epoch=000", {})
    fields = store.load_fields(snapshot.fields_file("epoch=000"), "conv3/strongest")
    assert fields.field.shape == (3, 2, 3, 15, 15)
    relu = network.backbone.get_submodule("conv3.2")
    engine = NeuronGradient(lambda image: network.backbone(image)["conv3"], relu)
    for unit, k in np.ndindex(3, 2):
        i, row, column = fields.patches[unit, k].tolist()
        image = whole[i : i + 1].clone().requires_grad_()
        gradient = engine.attribute(image, (unit, row, column), attribute_to_neuron_input=True)
        padded = np.pad(gradient[0].numpy(), ((0, 0), (64, 64), (64, 64)))
        top, left = (64 + round(float(at) - 7) for at in fields.centre[unit, k])
        there = padded[:, top : top + 15, left : left + 15]
        assert np.abs(fields.field[unit, k] - there).max() <= np.abs(there).max() / 2000  # float16
    assert np.isnan(fields.reliability).all(), "one patch says nothing about others"
    assert numbers["rf/conv3/dead"] == 0
    assert figures["rf/conv3/strongest"].is_file()
    assert [*snapshot.draw_summary_figures(images)][-1] == "rf/conv3/patches"


def test_a_resumed_run_repeats_the_first_checkpoints_noise(tmp_path: Path) -> None:
    network, images = task().network, datamodule().images["val"]
    options = {"method": "reverse_correlation", "pairs": 64}
    first = snapshot_of(tmp_path, **options)
    first(network, images, first.empty_recorder(), "epoch=000", {})
    again = snapshot_of(tmp_path, **options | {"pairs": 8, "target": 0.1})
    numbers, _ = again(network, images, again.empty_recorder(), "epoch=001", {})
    one, two = (
        store.load_noise_fields(again.fields_file(f"epoch=00{i}"), "conv3/grey") for i in (0, 1)
    )
    assert (one.cell, one.pairs) == (two.cell, two.pairs)
    assert np.allclose(one.field, two.field, atol=1e-3 * one.field.max())
    assert numbers["rf/conv1/correlation"] == pytest.approx(1)


def test_the_first_units_are_as_many_as_a_stage_has(tmp_path: Path) -> None:
    assert snapshot_of(tmp_path, units=6).units == {
        "conv1": [0, 1, 2, 3],
        "conv3": [0, 1, 2, 3, 4, 5],
    }
    assert snapshot_of(tmp_path, units=[3, 1]).units == {"conv1": [3, 1], "conv3": [3, 1]}


def test_a_stage_that_never_fires_is_dead_and_not_noise(tmp_path: Path) -> None:
    network, images = task().network, datamodule().images["val"]
    network.backbone.get_parameter("conv3.1.bias").data.fill_(-1e3)
    snapshot = snapshot_of(tmp_path)
    recorder = snapshot.empty_recorder()
    with recorder.record_from(network.eval()):
        recorder.announce_images([0])
        network(images[0].image[None])
    numbers, _ = snapshot(network, images, recorder, "epoch=000", {})
    assert numbers["rf/conv3/dead"] == 1
    file = snapshot.fields_file("epoch=000")
    assert np.isnan(store.load_fields(file, "conv3/strongest").field).all()
    assert np.isfinite(store.load_fields(file, "conv3/centred").field).all()


def test_a_continued_run_compares_with_its_own_first_checkpoint(tmp_path: Path) -> None:
    network, images = task().network, datamodule().images["val"]
    first = snapshot_of(tmp_path)
    first(network, images, first.empty_recorder(), "epoch=000", {})
    again = snapshot_of(tmp_path)
    assert set(again.start_fields) == {"conv1", "conv3"}
    network.backbone.get_parameter("conv3.0.weight").data.neg_()
    numbers, _ = again(network, images, again.empty_recorder(), "epoch=001", {})
    assert numbers["rf/conv1/correlation"] == pytest.approx(1)
    assert numbers["rf/conv3/correlation"] < 0.9
