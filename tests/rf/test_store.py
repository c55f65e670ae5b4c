import os
from pathlib import Path

import numpy as np
import pytest

from deepsal.rf import store
from deepsal.rf.fields import Fields
from tests.conftest import arrays_equal


def some(seed: int) -> Fields:
    generator = np.random.default_rng(seed)
    return Fields(
        field=generator.normal(size=(4, 3, 5, 5)).astype(np.float32),
        units=np.arange(4),
        patches=generator.integers(0, 9, (4, 2, 3)),
        centre=generator.normal(size=(4, 2, 2)).astype(np.float32),
        activation=generator.normal(size=(4, 2)).astype(np.float32),
        count=np.full(4, 2),
        component=generator.normal(size=(4, 1, 3, 5, 5)).astype(np.float32),
        variance=generator.normal(size=(4, 1)).astype(np.float32),
    )


def test_what_is_written_is_read(tmp_path: Path) -> None:
    file = tmp_path / "fields" / "epoch=001.npz"
    store.save(file, {"conv4/fixed": some(0), "conv5/topk": some(1)}, {"epoch": 1})
    assert store.names(file) == ["conv4/fixed", "conv5/topk"]
    assert store.about(file) == {"epoch": 1}
    found, expected = store.load(file, "conv5/topk"), some(1)
    assert all(arrays_equal(getattr(found, m), getattr(expected, m)) for m in store.MEMBERS)


def test_an_unknown_entry_lists_those_there_are(tmp_path: Path) -> None:
    store.save(tmp_path / "a.npz", {"conv4/fixed": some(0)}, {})
    with pytest.raises(ValueError, match=r"conv9/fixed.*\['conv4/fixed'\]"):
        store.load(tmp_path / "a.npz", "conv9/fixed")


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.npz"
    store.save(file, {"conv4/fixed": some(0)}, {"epoch": 1})

    def full(*_args: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        store.save(file, {"conv4/fixed": some(1)}, {"epoch": 2})
    assert store.about(file) == {"epoch": 1}


def test_a_units_evolution_is_one_array_in_the_order_of_epochs(tmp_path: Path) -> None:
    for epoch in (2, 0, 10):
        store.save(tmp_path / f"epoch={epoch:03d}.npz", {"conv4/fixed": some(epoch)}, {})
    found = store.evolution(tmp_path, "conv4/fixed", [3, 1])
    assert found.checkpoints == ["epoch=000", "epoch=002", "epoch=010"]
    assert arrays_equal(found.field, np.stack([some(e).field[[3, 1]] for e in (0, 2, 10)]))
    with pytest.raises(ValueError, match=r"no units \[9\]"):
        store.evolution(tmp_path, "conv4/fixed", [9])
    with pytest.raises(FileNotFoundError, match="holds no fields"):
        store.evolution(tmp_path / "nowhere", "conv4/fixed")
