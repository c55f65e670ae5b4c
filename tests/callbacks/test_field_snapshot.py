from pathlib import Path

import numpy as np
import pytest

from deepsal.callbacks.field_snapshot import FieldSnapshot
from deepsal.rf import map_receptive_fields, measure_geometry, store
from deepsal.rf.patches import centred_patches
from tests.conftest import datamodule, task


def look(folder: Path, **options: object) -> FieldSnapshot:
    settings: dict[str, object] = {
        "stages": ["conv1", "conv3"],
        "units": 3,
        "patches": 2,
        "sources": ["centred", "strongest"],
        "window": 33,
        "method": "gradient",
    }
    made = FieldSnapshot(folder, **{**settings, **options})  # type: ignore[arg-type]
    made.choose(task().network.backbone.channels)
    return made


def test_a_look_stores_what_the_library_finds_and_says_how(tmp_path: Path) -> None:
    network, images = task().network, datamodule().images["val"]
    looking = look(tmp_path, sources=["centred"])
    numbers, pictures = looking(
        network, images, looking.empty_recorder(), "epoch=000", {"dataset": "toy"}
    )
    known = measure_geometry(network, "backbone.conv3")
    patches = centred_patches(3, 2, known, (64, 96))
    whole = np.stack([images[i].image for i in range(2)])
    expected = map_receptive_fields(
        network, "backbone.conv3", images[0].image.new_tensor(whole), patches, range(3), known, 33
    )
    found = store.load_fields(looking.file("epoch=000"), "conv3/centred")
    assert np.allclose(found.field, expected.field, atol=1e-7)
    assert numbers["rf/conv3/correlation"] == pytest.approx(1)
    assert "rf/conv3/dead" not in numbers
    assert pictures["rf/conv3/centred"].is_file()
    about = store.load_description(looking.file("epoch=000"))
    assert about["dataset"] == "toy"
    assert about["method"] == "gradient"
    assert about["weights"] == store.weights_fingerprint(network)
    assert about["stages"]["conv3"]["size"] == [15, 15]


def test_the_first_units_are_as_many_as_a_stage_has(tmp_path: Path) -> None:
    assert look(tmp_path, units=6).units == {"conv1": [0, 1, 2, 3], "conv3": [0, 1, 2, 3, 4, 5]}
    assert look(tmp_path, units=[3, 1]).units == {"conv1": [3, 1], "conv3": [3, 1]}


def test_a_stage_that_never_fires_is_dead_and_not_noise(tmp_path: Path) -> None:
    network, images = task().network, datamodule().images["val"]
    network.backbone.get_parameter("conv3.1.bias").data.fill_(-1e3)
    looking = look(tmp_path)
    recorder = looking.empty_recorder()
    with recorder.record_from(network.eval()):
        recorder.announce_images([0])
        network(images[0].image[None])
    numbers, _ = looking(network, images, recorder, "epoch=000", {})
    assert numbers["rf/conv3/dead"] == 1
    assert np.isnan(store.load_fields(looking.file("epoch=000"), "conv3/strongest").field).all()
    assert np.isfinite(store.load_fields(looking.file("epoch=000"), "conv3/centred").field).all()


def test_a_continued_run_compares_with_its_own_first_checkpoint(tmp_path: Path) -> None:
    network, images = task().network, datamodule().images["val"]
    first = look(tmp_path)
    first(network, images, first.empty_recorder(), "epoch=000", {})
    again = look(tmp_path)
    assert set(again.start) == {"conv1", "conv3"}
    network.backbone.get_parameter("conv3.0.weight").data.neg_()
    numbers, _ = again(network, images, again.empty_recorder(), "epoch=001", {})
    assert numbers["rf/conv1/correlation"] == pytest.approx(1)
    assert numbers["rf/conv3/correlation"] < 0.9
