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
        activation=generator.normal(size=(4, 2)).astype(np.float32),
        count=np.full(4, 2),
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
