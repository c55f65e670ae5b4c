"""A run that is told to stop, as a person (Ctrl-C) and as a cluster (USR2) tells it."""

import itertools
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch

from deepsal.runs.folder import PREEMPTED_EXIT_CODE
from deepsal.vocabulary import PREEMPTION_SIGNAL
from tests.support import ROOT, SMALL

LONG = [*SMALL, "logger=csv", "rf=none", "trainer.max_epochs=10000"]


def told(folder: Path, number: int) -> tuple[int, str, dict[str, Any]]:
    """Train for two epochs, then send a signal; return exit code, output and last checkpoint."""
    command = [sys.executable, "run.py", *LONG, f"hydra.run.dir={folder}"]
    child = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        # what a background job ignores, its children ignore
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    assert child.stdout is not None
    for line in itertools.islice(child.stdout, 100):
        if line.startswith("epoch 2/"):
            break
    child.send_signal(number)
    rest, _ = child.communicate(timeout=60)
    checkpoint = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    return child.returncode, rest, checkpoint


def test_ctrl_c_leaves_a_usable_checkpoint_and_says_so(tmp_path: Path) -> None:
    code, said, checkpoint = told(tmp_path / "run", signal.SIGINT)
    assert code != 0
    assert "interrupted; to resume" in said
    assert (tmp_path / "run" / "status").read_text() == "interrupted\n"
    assert checkpoint["global_step"] >= 2  # the end of a whole epoch
    assert checkpoint["global_step"] % 2 == 0


def test_a_cluster_is_left_at_once_and_the_run_says_how_to_go_on(tmp_path: Path) -> None:
    code, said, checkpoint = told(tmp_path / "run", PREEMPTION_SIGNAL)
    assert code == PREEMPTED_EXIT_CODE
    assert f"at step {checkpoint['global_step']}; to resume" in said
    assert f"checkpoint: resume={tmp_path / 'run'}" in said
    assert (tmp_path / "run" / "status").read_text() == "preempted\n"
