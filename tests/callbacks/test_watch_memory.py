"""Looking where memory does not suffice."""

from pathlib import Path
from typing import Any

import pytest
import torch

from deepsal.callbacks import WatchReceptiveFields, field_snapshot
from deepsal.rf import map_receptive_fields
from tests.callbacks.test_watch_fields import fit, watch


@pytest.mark.parametrize(
    ("fails", "left"),
    [(range(99), []), (range(2, 3), ["epoch=000.npz", "epoch=002.npz"])],
    ids=["at the first look", "at a later one"],
)
def test_without_memory_the_training_goes_on_and_says_what_is_missing(
    fails: range,
    left: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    calls = iter(range(99))  # one per source, so two per look

    def scarce(*args: Any, **options: Any) -> Any:
        if next(calls) in fails:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")
        return map_receptive_fields(*args, **options)

    monkeypatch.setattr(field_snapshot, "map_receptive_fields", scarce)
    watching = WatchReceptiveFields(tmp_path, ["conv3"], units=4, patches=2, window=33)
    trained = fit(tmp_path, [watching], epochs=2)
    assert trained.trainer.global_step == 4
    assert sorted(f.name for f in tmp_path.glob("fields/epoch*.npz")) == left
    assert caplog.text.count("no receptive fields of") == 1, (
        "no second word where there is no second look"
    )
    assert ("nor of later ones" in caplog.text) == (not left)


def test_another_error_of_a_look_is_not_silenced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_args: object, **_options: object) -> None:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(field_snapshot, "map_receptive_fields", broken)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        fit(tmp_path, [watch(tmp_path)], epochs=1)
