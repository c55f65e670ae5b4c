import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from deepsal.training.checkpoints import (
    AtomicCheckpointIO,
    LastCheckpoint,
    best_checkpoint,
    newest_checkpoint,
    previous_checkpoint,
    random_state,
    restore_random_state,
)
from deepsal.vocabulary import CHECKPOINT_RECORD
from tests.training.support import fit_or_resume, fit_with


def test_kl_is_minimised_and_nss_maximised(tmp_path: Path) -> None:
    assert (
        best_checkpoint(tmp_path, "val/kl").mode,
        best_checkpoint(tmp_path, "val/nss").mode,
    ) == ("min", "max")


def test_an_unknown_metric_lists_the_choices(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"val/bleu.*val/nss"):
        best_checkpoint(tmp_path, "val/bleu")


class Interrupt(pl.Callback):
    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def on_train_batch_end(self, trainer: pl.Trainer, *_args: object) -> None:
        if trainer.global_step == 3:
            raise self.error("on purpose")


def test_ctrl_c_leaves_the_last_whole_epoch(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        fit_with(tmp_path, [LastCheckpoint(tmp_path), Interrupt(KeyboardInterrupt)])
    checkpoint = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 2


def test_an_error_does_not_overwrite_the_last_good_epoch(tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError):
        fit_with(tmp_path, [LastCheckpoint(tmp_path), Interrupt(FloatingPointError)])
    checkpoint = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 2


def test_a_loss_that_is_not_finite_says_where_and_keeps_the_last_good_epoch(tmp_path: Path) -> None:
    class Poison(pl.Callback):
        def on_train_batch_start(self, trainer: pl.Trainer, *_args: object) -> None:
            if trainer.global_step == 3:
                next(trainer.lightning_module.parameters()).data.fill_(float("nan"))

    with pytest.raises(FloatingPointError, match=r"kl is nan at epoch 2, step 3, images \['"):
        fit_with(tmp_path, [LastCheckpoint(tmp_path), Poison()])
    checkpoint = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 2
    assert all(value.isfinite().all() for value in checkpoint["state_dict"].values())


class Crash(pl.Callback):
    """Fails at a step, in training or in the validation after it."""

    def __init__(self, step: int, hook: str) -> None:
        self.step = step
        setattr(self, hook, self.fail)

    def fail(self, trainer: pl.Trainer, *_args: object) -> None:
        if trainer.global_step == self.step:
            raise FloatingPointError("on purpose")


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
@pytest.mark.parametrize(
    ("step", "hook", "workers"),
    [
        (1, "on_train_batch_end", 0),
        (5, "on_train_batch_end", 0),
        (6, "on_validation_batch_end", 0),
        (5, "on_train_batch_end", 2),
    ],
)
def test_a_run_cut_short_and_continued_is_the_uninterrupted_run_bit_for_bit(
    step: int, hook: str, workers: int, tmp_path: Path
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    expected = fit_or_resume(whole, workers=workers)
    with pytest.raises(FloatingPointError):
        fit_or_resume(cut, Crash(step, hook), workers=workers)
    resumed = fit_or_resume(cut, workers=workers)
    assert all(torch.equal(resumed[key], expected[key]) for key in expected)
    assert (whole / "metrics.csv").read_bytes() == (cut / "metrics.csv").read_bytes()
    first, second = (
        torch.load(f / "checkpoints" / "last.ckpt", weights_only=True) for f in (whole, cut)
    )
    assert torch.equal(first["random"][0]["torch"], second["random"][0]["torch"])
    assert first["lr_schedulers"] == second["lr_schedulers"]


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
def test_a_checkpoint_cut_inside_an_epoch_by_an_older_version_says_how_to_continue(
    tmp_path: Path,
) -> None:
    fit_or_resume(tmp_path)
    file = tmp_path / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(file, weights_only=True)
    began = [state["torch"] for state in checkpoint["random"]]
    torch.save(checkpoint | {"cut": {"used": 1, "began": began}}, file)
    with pytest.raises(
        ValueError, match=rf"older version.* remove {file} and run the same command"
    ):
        fit_or_resume(tmp_path)


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
@pytest.mark.parametrize("move", [shutil.copytree, shutil.move])
def test_a_copied_or_moved_run_resumes_with_its_best_score_and_changes_nothing_else(
    move: Callable[[Path, Path], object], tmp_path: Path
) -> None:
    whole, original, moved = (tmp_path / name for name in ("whole", "original", "moved"))
    fit_or_resume(whole)
    with pytest.raises(FloatingPointError):
        fit_or_resume(original, Crash(5, "on_train_batch_end"))
    move(original, moved)
    before = {file: file.read_bytes() for file in original.rglob("*") if file.is_file()}
    fit_or_resume(moved)
    assert {file: file.read_bytes() for file in original.rglob("*") if file.is_file()} == before
    for name in ("best", "last"):
        first, second = (
            torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)
            for folder in (whole, moved)
        )
        assert all(torch.equal(first["state_dict"][k], v) for k, v in second["state_dict"].items())
        for one, other in zip(*(c["callbacks"].values() for c in (first, second)), strict=True):
            assert one["best_model_score"] == other["best_model_score"]
            expected = one["best_model_path"].replace("whole", "moved")
            assert name == "best" or other["best_model_path"] == expected


def test_a_checkpoint_states_its_training(tmp_path: Path) -> None:
    record = {"config": {"seed": 3, "optim": {"lr": 0.1}}, "dataset": "OSIE", "commit": None}
    AtomicCheckpointIO(record).save_checkpoint({"number": 0}, tmp_path / "a.ckpt")
    stored = torch.load(tmp_path / "a.ckpt", weights_only=True)
    assert stored == {"number": 0, CHECKPOINT_RECORD: record}


def test_a_torn_checkpoint_is_passed_over_for_the_one_before(tmp_path: Path) -> None:
    last = tmp_path / "checkpoints" / "last.ckpt"
    for number in range(2):
        AtomicCheckpointIO().save_checkpoint({"number": number}, last)
    assert newest_checkpoint(tmp_path) == (last, [])
    last.write_bytes(last.read_bytes()[:-50])
    assert newest_checkpoint(tmp_path) == (previous_checkpoint(last), [last])
    assert torch.load(previous_checkpoint(last), weights_only=True) == {"number": 0}


def test_a_full_disk_leaves_the_checkpoint_before_and_no_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"number": 0}, last)

    def full(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space left"):
        AtomicCheckpointIO().save_checkpoint({"number": 1}, last)
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]
    assert torch.load(last, weights_only=True) == {"number": 0}


def test_random_states_come_back() -> None:
    state = random_state()
    expected = random.random(), np.random.rand(), torch.rand(1).item()
    restore_random_state(state)
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == expected
