import dataclasses
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from deepsal.rf import store
from deepsal.rf.mapping.gradient_fields import ReceptiveFields
from deepsal.rf.mapping.noise_fields import NOISE_ARRAYS, NoiseFields, stored_noise_fields
from deepsal.rf.mapping.reverse_correlation import reverse_correlation
from tests.conftest import arrays_equal, backbone


def some(seed: int) -> ReceptiveFields:
    generator = np.random.default_rng(seed)
    return ReceptiveFields(
        field=generator.normal(size=(4, 3, 5, 5)).astype(np.float32),
        units=np.arange(4),
        patches=generator.integers(0, 9, (4, 2, 3)),
        centre=generator.normal(size=(4, 2, 2)).astype(np.float32),
        activation=generator.normal(size=(4, 2)).astype(np.float32),
        count=np.full(4, 2),
        reliability=generator.uniform(size=4),
    )


def measured(pairs: int = 64, seed: int = 0) -> NoiseFields:
    """Fields of three units at one sample per two pixels; the last unit is silent."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 3, 9, 2, 4, bias=False))
    network.get_parameter("0.weight").data *= torch.tensor([1.0, 1e-7, 0])[:, None, None, None]
    fields = reverse_correlation(
        network, ["0"], (48, 48), pairs=pairs, seed=seed, target=0.99, cells={"0": [4]}
    )
    return fields["0"]


def test_fields_measured_with_noise_are_stored_with_a_stated_error(tmp_path: Path) -> None:
    file, fields = tmp_path / "epoch=000.npz", measured()
    stored = stored_noise_fields({"conv4/natural": fields}, {"conv4/natural": [1]})
    store.save_fields(file, {**stored, "conv4/strongest": some(0)}, {})
    assert store.entry_names(file) == ["conv4/natural", "conv4/strongest"]
    read = store.load_noise_fields(file, "conv4/natural")
    for name in ("field", "stderr"):
        exact = getattr(fields, name)
        largest = np.abs(fields.field).max((1, 2, 3), keepdims=True)
        assert (np.abs(getattr(read, name) - exact) <= np.abs(exact) / 2048 + 3e-8 * largest).all()
    for name in ("units", "reliability"):
        assert np.array_equal(getattr(read, name), getattr(fields, name), equal_nan=True)
    numbers = (m.name for m in dataclasses.fields(read) if m.name not in NOISE_ARRAYS)
    assert all(getattr(read, name) == getattr(fields, name) for name in numbers)
    assert arrays_equal(store.load_fields(file, "conv4/strongest").field, some(0).field)
    with pytest.raises(ValueError, match="load_noise_fields"):
        store.load_fields(file, "conv4/natural")
    with pytest.raises(ValueError, match="use load_fields"):
        store.load_noise_fields(file, "conv4/strongest")


def test_an_evolution_of_noise_fields_has_a_sample_per_pixel_and_its_reliability(
    tmp_path: Path,
) -> None:
    both = [measured(pairs) for pairs in (16, 32)]
    for epoch, fields in enumerate(both):
        stored = stored_noise_fields({"conv4/grey": fields}, {})
        store.save_fields(tmp_path / f"epoch={epoch:03d}.npz", stored, {})
    evolution = store.load_evolution(tmp_path, "conv4/grey", [1, 0])
    step, side = both[0].step, both[0].field.shape[-1]
    assert step == 2
    assert evolution.field.shape == (2, 2, 3, 2 * side - 1, 2 * side - 1)
    assert (evolution.samples, evolution.sample_name) == (32, "pairs")
    for row, fields in zip(evolution.field, both, strict=True):
        samples = row[..., ::step, ::step]
        largest = np.abs(fields.field[[1, 0]]).max((1, 2, 3), keepdims=True)
        assert (np.abs(samples - fields.field[[1, 0]]) <= largest / 1000).all()
        between = (row[..., ::step, 2::step] + row[..., ::step, :-2:step]) / 2
        assert np.allclose(row[..., ::step, 1::step], between, atol=largest.max() / 1000)
    assert np.array_equal(evolution.reliability[1], both[1].reliability[[1, 0]])
    store.save_fields(tmp_path / "b" / "epoch=000.npz", {"conv4/centred": some(0)}, {})
    gradients = store.load_evolution(tmp_path / "b", "conv4/centred")
    assert np.array_equal(gradients.reliability, [some(0).reliability])
    assert (gradients.samples, gradients.sample_name) == (2, "patches")


def test_what_is_written_is_read(tmp_path: Path) -> None:
    file = tmp_path / "fields" / "epoch=001.npz"
    store.save_fields(file, {"conv4/centred": some(0), "conv5/strongest": some(1)}, {"epoch": 1})
    assert store.entry_names(file) == ["conv4/centred", "conv5/strongest"]
    assert store.load_description(file) == {"epoch": 1}
    fields, expected = store.load_fields(file, "conv5/strongest"), some(1)
    assert all(arrays_equal(getattr(fields, m), getattr(expected, m)) for m in store.FIELD_MEMBERS)


def test_a_gradient_per_patch_is_stored_within_a_thousandth_of_its_largest_value(
    tmp_path: Path,
) -> None:
    random = np.random.default_rng(0)
    size = random.uniform(1e-6, 1e6, (2, 2, 1, 1, 1))
    field = (size * random.normal(size=(2, 2, 3, 5, 5))).astype(np.float32)
    field[1, 1] = np.nan  # no such patch
    store.save_fields(
        tmp_path / "a.npz", {"conv4/strongest": dataclasses.replace(some(0), field=field)}, {}
    )
    stored = store.load_fields(tmp_path / "a.npz", "conv4/strongest").field
    largest = np.abs(field).max((2, 3, 4), keepdims=True)
    assert np.nanmax(np.abs(stored - field) / largest) <= 1 / 2048
    assert np.isnan(stored[1, 1]).all()


def test_members_of_earlier_versions_are_ignored(tmp_path: Path) -> None:
    older = {"conv4/centred/component": np.zeros((4, 1, 3, 5, 5)), "conv4/disks": np.ones(3)}
    store.save_fields(tmp_path / "a.npz", {"conv4/centred": some(0)}, {}, older)
    fields = store.load_fields(tmp_path / "a.npz", "conv4/centred")
    assert arrays_equal(fields.field, some(0).field)
    assert list(store.load_stage_arrays(tmp_path / "a.npz", "conv4")) == ["disks"]


def test_the_reliability_of_gradients_in_earlier_files_is_unknown(tmp_path: Path) -> None:
    file = tmp_path / "fields" / "epoch=000.npz"
    members = {f"conv4/centred/{m}": getattr(some(0), m) for m in store.FIELD_MEMBERS}
    del members["conv4/centred/reliability"]
    store.save_fields(file, {}, {}, members)
    fields = store.load_fields(file, "conv4/centred")
    assert arrays_equal(fields.field, some(0).field)
    assert np.isnan(fields.reliability).tolist() == [True] * 4
    evolution = store.load_evolution(file.parent, "conv4/centred", [3, 1])
    assert np.isnan(evolution.reliability).tolist() == [[True, True]]


def test_an_unknown_entry_lists_those_there_are(tmp_path: Path) -> None:
    store.save_fields(tmp_path / "a.npz", {"conv4/centred": some(0)}, {})
    with pytest.raises(ValueError, match=r"conv9/centred.*\['conv4/centred'\]"):
        store.load_fields(tmp_path / "a.npz", "conv9/centred")


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.npz"
    store.save_fields(file, {"conv4/centred": some(0)}, {"epoch": 1})

    def full(*_args: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        store.save_fields(file, {"conv4/centred": some(1)}, {"epoch": 2})
    assert store.load_description(file) == {"epoch": 1}


def test_a_units_evolution_is_one_array_in_the_order_of_epochs(tmp_path: Path) -> None:
    for epoch in (2, 0, 10):
        store.save_fields(tmp_path / f"epoch={epoch:03d}.npz", {"conv4/centred": some(epoch)}, {})
    evolution = store.load_evolution(tmp_path, "conv4/centred", [3, 1])
    assert evolution.checkpoints == ["epoch=000", "epoch=002", "epoch=010"]
    assert arrays_equal(evolution.field, np.stack([some(e).field[[3, 1]] for e in (0, 2, 10)]))
    with pytest.raises(ValueError, match=r"no units \[9\]"):
        store.load_evolution(tmp_path, "conv4/centred", [9])
    with pytest.raises(FileNotFoundError, match="holds no fields"):
        store.load_evolution(tmp_path / "nowhere", "conv4/centred")


def test_epochs_beyond_999_come_last(tmp_path: Path) -> None:
    for epoch in (1000, 998, 10):
        store.save_fields(tmp_path / f"epoch={epoch:03d}.npz", {"conv4/centred": some(epoch)}, {})
    evolution = store.load_evolution(tmp_path, "conv4/centred")
    assert evolution.checkpoints == ["epoch=010", "epoch=998", "epoch=1000"]
    assert evolution.units.tolist() == [0, 1, 2, 3]
    assert evolution.field.shape == (3, 4, 3, 5, 5)


@pytest.mark.parametrize(
    "change", [{"units": np.array([0, 1, 2, 5])}, {"field": np.zeros((4, 3, 7, 7), np.float32)}]
)
def test_an_evolution_of_different_units_or_windows_names_the_file(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    for epoch, fields in ((0, some(0)), (1, some(1)), (2, dataclasses.replace(some(2), **change))):
        store.save_fields(tmp_path / f"epoch={epoch:03d}.npz", {"conv4/centred": fields}, {})
    with pytest.raises(ValueError, match=r"epoch=002.npz holds other units or windows"):
        store.load_evolution(tmp_path, "conv4/centred")


def test_a_checkpoint_without_fields_has_a_reason_until_it_has_fields(tmp_path: Path) -> None:
    assert store.missing_checkpoints(tmp_path) == {}
    store.mark_missing(tmp_path / "fields", "epoch=001", "out of memory")
    store.mark_missing(tmp_path / "fields", "epoch=002", "conv3 gives NaN")
    store.save_fields(tmp_path / "fields" / "epoch=001.npz", {"conv4/centred": some(0)}, {})
    assert store.missing_checkpoints(tmp_path / "fields") == {"epoch=002": "conv3 gives NaN"}


def test_an_entry_is_read_without_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.npz"
    store.save_fields(file, {"conv4/centred": some(0), "conv5/strongest": some(1)}, {})
    opened: list[str] = []
    read = zipfile.ZipFile.open

    def spy(archive: zipfile.ZipFile, name: Any, *args: Any, **kwargs: Any) -> Any:
        opened.append(str(getattr(name, "filename", name)))
        return read(archive, name, *args, **kwargs)

    monkeypatch.setattr(zipfile.ZipFile, "open", spy)
    store.load_fields(file, "conv5/strongest")
    assert {name.rpartition("/")[0] for name in opened} == {"conv5/strongest"}
    opened.clear()
    assert store.entry_names(file) == ["conv4/centred", "conv5/strongest"]
    assert not opened


def test_a_failed_write_leaves_no_file_that_looks_whole(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        store.save_fields(tmp_path / "epoch=000.npz", {"conv4/centred": some(0)}, {"bad": object()})
    assert not [*tmp_path.glob("*.npz")]


def parameter(network: nn.Module) -> None:
    network.get_parameter("conv5.0.weight").data[0, 0, 0, 0] += 1e-6


def buffer(network: nn.Module) -> None:
    network.get_buffer("conv2.1.running_var")[-1] += 1e-3


def counter(network: nn.Module) -> None:
    network.get_buffer("conv2.1.num_batches_tracked").add_(1)


def precision(network: nn.Module) -> None:
    network.bfloat16()


@pytest.mark.parametrize("change", [parameter, buffer, counter, precision])
def test_a_fingerprint_changes_with_one_number(change: Callable[[nn.Module], None]) -> None:
    network = backbone()
    before = store.weights_fingerprint(network)
    assert before == store.weights_fingerprint(backbone().train())
    change(network)
    assert store.weights_fingerprint(network) != before


def test_a_fingerprint_knows_which_tensor_is_which() -> None:
    one, other = nn.Sequential(nn.Linear(2, 2)), nn.Sequential(nn.ReLU(), nn.Linear(2, 2))
    other.load_state_dict({f"1.{k[2:]}": v for k, v in one.state_dict().items()})
    assert store.weights_fingerprint(one) != store.weights_fingerprint(other)
    wide, tall = nn.Linear(4, 1, bias=False), nn.Linear(1, 4, bias=False)
    tall.weight.data = wide.weight.data.T.contiguous()
    assert store.weights_fingerprint(wide) != store.weights_fingerprint(tall)
    turned = nn.Linear(4, 1, bias=False)
    turned.weight.data = torch.stack([wide.weight.data] * 2, -1)[..., 0]  # not contiguous
    assert store.weights_fingerprint(turned) == store.weights_fingerprint(wide)
