import os
import signal
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import Strategy

from deepsal.callbacks import Preempted, Requeue
from deepsal.callbacks.requeue import SIGNAL
from tests.callbacks.test_keep import train
from tests.callbacks.test_watch import fit


class Tell(pl.Callback):
    """The signal arrives at a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: pl.Trainer, *_args: object) -> None:
        if trainer.global_step == self.step:
            os.kill(os.getpid(), SIGNAL)


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
def test_a_run_told_to_leave_and_continued_is_the_uninterrupted_run_bit_for_bit(
    tmp_path: Path,
) -> None:
    expected = train(tmp_path / "whole")
    with pytest.raises(Preempted, match="at step 4"):
        train(tmp_path / "cut", Requeue(), Tell(3))
    found = train(tmp_path / "cut", Requeue())
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    files = [tmp_path / name / "metrics.csv" for name in ("whole", "cut")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_the_signal_of_any_rank_is_every_ranks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Strategy, "reduce_boolean_decision", lambda *_args, **_kwargs: True)
    with pytest.raises(Preempted, match="at step 1"):
        fit(tmp_path, [Requeue()])


def test_outside_a_fit_the_signal_does_what_it_did(tmp_path: Path) -> None:
    before = signal.getsignal(SIGNAL)
    fit(tmp_path, [Requeue()])
    assert signal.getsignal(SIGNAL) == before
