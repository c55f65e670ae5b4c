import os
import signal
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import Strategy
from torch.multiprocessing.spawn import ProcessRaisedException

from deepsal.training.preemption import PREEMPTION_SIGNAL, PreemptionCallback, RunPreempted
from tests.callbacks.test_watch_fields import fit
from tests.training.test_checkpoints import train


class Tell(pl.Callback):
    """The signal arrives at a step, at one rank."""

    def __init__(self, step: int, rank: int = 0) -> None:
        self.step = step
        self.rank = rank

    def on_train_batch_start(self, trainer: pl.Trainer, *_args: object) -> None:
        if (trainer.global_step, trainer.global_rank) == (self.step, self.rank):
            os.kill(os.getpid(), PREEMPTION_SIGNAL)


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch")
@pytest.mark.parametrize(
    ("told", "at", "kept", "workers", "accumulate"),
    [
        ([5], [6], [2], 0, 1),  # in the middle of an epoch of four batches
        ([5], [6], [2], 2, 1),
        ([5, 13], [6, 14], [2, 2], 2, 1),  # in two epochs, with workers that stay
        ([1, 2], [2, 3], [2, 3], 0, 1),  # twice in one epoch
        ([3], [4], [None], 0, 1),  # in the last batch of an epoch
        ([15], [16], [None], 0, 1),  # in the last batch of all
        ([2], [3], [2], 0, 2),  # between two batches that make one step
    ],
)
def test_a_run_told_to_leave_and_continued_is_the_uninterrupted_run_bit_for_bit(
    told: list[int],
    at: list[int],
    kept: list[int | None],
    workers: int,
    accumulate: int,
    tmp_path: Path,
) -> None:
    more = {"workers": workers, "images": 16, "accumulate": accumulate}
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    expected = train(whole, **more)
    for step, stops, used in zip(told, at, kept, strict=True):
        with pytest.raises(RunPreempted, match=f"at step {stops}$"):
            train(cut, PreemptionCallback(), Tell(step), **more)
        checkpoint = torch.load(cut / "checkpoints" / "last.ckpt", weights_only=True)
        assert checkpoint.get("cut", {}).get("used") == used
        assert checkpoint["global_step"] == stops
    found = train(cut, PreemptionCallback(), **more)
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    assert (whole / "metrics.csv").read_bytes() == (cut / "metrics.csv").read_bytes()
    loops = [
        torch.load(f / "checkpoints/last.ckpt", weights_only=True)["loops"] for f in (whole, cut)
    ]
    assert loops[0] == loops[1]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch")
def test_ranks_leave_together_and_go_on_together(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(whole, images=24, ranks=2)  # three batches an epoch
    with pytest.raises(ProcessRaisedException, match="Preempted: told to leave at step 5"):
        train(cut, PreemptionCallback(), Tell(4, rank=1), images=24, ranks=2)
    checkpoint = torch.load(cut / "checkpoints" / "last.ckpt", weights_only=True)
    assert (checkpoint["cut"]["used"], len(checkpoint["random"])) == (2, 2)
    train(cut, PreemptionCallback(), images=24, ranks=2)
    files = [folder / "checkpoints" / "last.ckpt" for folder in (whole, cut)]
    first, second = (torch.load(file, weights_only=True)["state_dict"] for file in files)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert (whole / "metrics.csv").read_bytes() == (cut / "metrics.csv").read_bytes()


def test_the_signal_of_any_rank_is_every_ranks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Strategy, "reduce_boolean_decision", lambda *_args, **_kwargs: True)
    with pytest.raises(RunPreempted, match=r"at step 1$"):
        fit(tmp_path, [PreemptionCallback()])


def test_outside_a_fit_the_signal_does_what_it_did(tmp_path: Path) -> None:
    before = signal.getsignal(PREEMPTION_SIGNAL)
    fit(tmp_path, [PreemptionCallback()])
    assert signal.getsignal(PREEMPTION_SIGNAL) == before
