import signal
from pathlib import Path

import pytest
import torch
from pytorch_lightning.strategies import Strategy
from torch.multiprocessing.spawn import ProcessRaisedException

from deepsal.training.preemption import PreemptionCallback, RunPreempted
from deepsal.vocabulary import PREEMPTION_SIGNAL
from tests.training.support import PreemptAt, fit_or_resume, fit_with


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch")
@pytest.mark.parametrize(
    ("signals", "stops", "used", "workers", "accumulate"),
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
def test_a_preempted_and_resumed_run_is_the_uninterrupted_run_bit_for_bit(
    signals: list[int],
    stops: list[int],
    used: list[int | None],
    workers: int,
    accumulate: int,
    tmp_path: Path,
) -> None:
    more = {"workers": workers, "images": 16, "accumulate": accumulate}
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    expected = fit_or_resume(whole, **more)
    for signal_step, last_step, batches in zip(signals, stops, used, strict=True):
        with pytest.raises(RunPreempted, match=f"at step {last_step}$"):
            fit_or_resume(cut, PreemptionCallback(), PreemptAt(signal_step), **more)
        checkpoint = torch.load(cut / "checkpoints" / "last.ckpt", weights_only=True)
        assert checkpoint.get("cut", {}).get("used") == batches
        assert checkpoint["global_step"] == last_step
    resumed = fit_or_resume(cut, PreemptionCallback(), **more)
    assert all(torch.equal(resumed[key], expected[key]) for key in expected)
    assert (whole / "metrics.csv").read_bytes() == (cut / "metrics.csv").read_bytes()
    loops = [
        torch.load(f / "checkpoints/last.ckpt", weights_only=True)["loops"] for f in (whole, cut)
    ]
    assert loops[0] == loops[1]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch")
def test_ranks_stop_together_and_resume_together(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    fit_or_resume(whole, images=24, ranks=2)  # three batches an epoch
    with pytest.raises(ProcessRaisedException, match="RunPreempted: preempted at step 5"):
        fit_or_resume(cut, PreemptionCallback(), PreemptAt(4, rank=1), images=24, ranks=2)
    checkpoint = torch.load(cut / "checkpoints" / "last.ckpt", weights_only=True)
    assert (checkpoint["cut"]["used"], len(checkpoint["random"])) == (2, 2)
    fit_or_resume(cut, PreemptionCallback(), images=24, ranks=2)
    files = [folder / "checkpoints" / "last.ckpt" for folder in (whole, cut)]
    first, second = (torch.load(file, weights_only=True)["state_dict"] for file in files)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert (whole / "metrics.csv").read_bytes() == (cut / "metrics.csv").read_bytes()


def test_the_signal_of_any_rank_is_every_ranks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Strategy, "reduce_boolean_decision", lambda *_args, **_kwargs: True)
    with pytest.raises(RunPreempted, match=r"at step 1$"):
        fit_with(tmp_path, [PreemptionCallback()])


def test_outside_a_fit_the_signal_does_what_it_did(tmp_path: Path) -> None:
    before = signal.getsignal(PREEMPTION_SIGNAL)
    fit_with(tmp_path, [PreemptionCallback()])
    assert signal.getsignal(PREEMPTION_SIGNAL) == before
