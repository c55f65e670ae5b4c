import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deepsal.report.page import field_data
from deepsal.rf import store
from tests.report.support import STAGE, field_arrays, random_fields, write_fields


def test_every_unit_has_a_picture_at_every_checkpoint(tmp_path: Path) -> None:
    write_fields(tmp_path)
    first, second = field_data.read_stage_fields(tmp_path)
    assert (first.name, second.name, first.units) == ("conv1", "conv2", [0, 1, 2, 3])
    assert (first.epochs, first.steps) == ([0, 1, 2], [0, 30, 60])
    assert first.picture.shape == (3, 4, first.side, first.side)
    assert first.peak.shape == (3, 4)
    assert np.isnan(first.peak[:, 3]).all(), "a dead unit has no peak"
    assert first.profile.shape == (3, 4, len(first.profile_radius))
    assert first.measures["correlation"][0, :3] == pytest.approx([1, 1, 1])
    assert set(first.measures) >= {"csi", "k", "extent", "opponency", "anisotropy"}
    assert first.patches is None


def test_measures_are_those_stored_with_the_fields(tmp_path: Path) -> None:
    write_fields(tmp_path)
    fields = {"conv1/centred": random_fields(2.0)}
    about = {"stages": {"conv1": STAGE}, "sources": ["centred"], "epoch": 3, "step": 90}
    for file in (tmp_path / "fields").iterdir():
        arrays = field_arrays("conv1", fields["conv1/centred"], fields["conv1/centred"])
        arrays["conv1/measure/csi"] = np.full(4, float(file.stem[-1]))
        store.save_fields(file, fields, about, arrays)
    (stage,) = field_data.read_stage_fields(tmp_path)
    assert stage.measures["csi"][:, 0].tolist() == [0, 1, 2]


def test_size_tuning_comes_with_its_numbers(tmp_path: Path) -> None:
    write_fields(tmp_path)
    stage = field_data.read_stage_fields(tmp_path)[0]
    assert stage.size_tuning is not None
    assert stage.size_tuning.radius.tolist() == [1, 3, 9]
    assert stage.size_tuning.gratings[:, 0].tolist() == [[1, 2, 1]] * 3
    assert stage.size_tuning.disks[:, 0].tolist() == [[1, 4, 1], [1, 4, 2], [1, 4, 3]]
    assert stage.measures["ssi_grating"][:, 0].tolist() == [0.5, 0.5, 0.5]
    assert stage.measures["radius"][0, :3].tolist() == [3, 3, 3]
    assert np.isnan(stage.measures["radius"][:, 3]).all(), "nothing excites it"


def test_a_run_without_size_tuning_has_none(tmp_path: Path) -> None:
    fields = random_fields(2.0)
    about = {"stages": {"conv1": STAGE}, "sources": ["centred"], "epoch": 0, "step": 0}
    arrays = field_arrays("conv1", fields, fields)
    kept = {name: array for name, array in arrays.items() if "/measure/" in name}
    file = tmp_path / "fields" / "epoch=000.npz"
    store.save_fields(file, {"conv1/centred": fields}, about, kept)
    (stage,) = field_data.read_stage_fields(tmp_path)
    assert stage.size_tuning is None
    assert "radius" not in stage.measures


def test_grey_is_zero_and_the_sign_stays() -> None:
    maps = np.zeros((1, 1, 5, 5), dtype=np.float32)
    maps[0, 0, 2, 2], maps[0, 0, 0, 0] = -4, 2
    picture, peak = field_data.grey_pictures(maps, 5, 5)
    assert peak.tolist() == [[4.0]]
    assert [picture[0, 0, i, i] for i in (2, 0, 4)] == [1, 192, 128]


def test_a_sprite_keeps_every_value_and_shrinks_on_demand() -> None:
    picture = np.random.default_rng(0).integers(1, 256, (3, 4, 10, 10)).astype(np.uint8)
    raw, cell = field_data.sprite_sheet(picture, 96)
    assert cell == 10
    with Image.open(io.BytesIO(raw)) as sheet:
        pixels = np.asarray(sheet.convert("L"))
    assert pixels.shape == (30, 40)
    assert (pixels[10:20, 30:40] == picture[1, 3]).all()
    assert field_data.sprite_sheet(picture, 5)[1] == 5


def test_a_run_without_fields_has_no_stages(tmp_path: Path) -> None:
    assert field_data.read_stage_fields(tmp_path) == []
