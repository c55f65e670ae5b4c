"""A tiny run to kill, and what must be equal in two run folders."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deepsal.runs.folder import PREEMPTED_EXIT_CODE
from deepsal.runs.process import fresh_environment
from deepsal.training.checkpoints import is_whole_checkpoint, newest_checkpoint
from deepsal.vocabulary import PREEMPTION_SIGNAL

ROOT = Path(__file__).parents[2]
TINY = [
    "backbone=resnet18",
    "backbone.weights=null",
    "data=popout",
    "data.dataset.images=[8,3,3]",
    "data.batch_size=2",
    "data.size=[64,64]",
    "data.dataset.size=[64,64]",
    "trainer=smoke",
    "trainer.precision=32-true",
    "trainer.accelerator=cpu",
    "trainer.max_epochs=3",
    "trainer.limit_train_batches=1.0",
    "trainer.log_every_n_steps=1",
    "logger=csv",
    "rf.units=1",
    "rf.stages=[conv1,conv4]",
    "rf.patches=1",
    "rf.every_n_epochs=1",
    "callbacks.show=null",
]


def start(folder: Path) -> subprocess.Popen[str]:
    """Start `run.py` on a folder, in a process group of its own."""
    chosen = [f"resume={folder}"] if (folder / "config.yaml").is_file() else []
    variables = {**fresh_environment(os.environ), "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}
    return subprocess.Popen(
        [sys.executable, "run.py", *(chosen or [*TINY, f"hydra.run.dir={folder}"])],
        cwd=ROOT,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(folder: Path) -> float:
    """Run or continue to the end; return the seconds since the run's work began."""
    fresh = not (folder / "config.yaml").is_file()
    process = start(folder)
    while fresh and not (folder / "config.yaml").is_file() and process.poll() is None:
        time.sleep(0.01)
    began = time.monotonic()
    said, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(said)
    return time.monotonic() - began


def kill(folder: Path, seconds: float, by: int = signal.SIGKILL) -> str:
    """Run or continue, kill -9 (or tell to leave) after some work; say how far it had come."""
    if (folder / "done").is_file():
        return "was done"
    (folder / "status").unlink(missing_ok=True)
    process = start(folder)
    while not (folder / "status").is_file() and process.poll() is None:
        time.sleep(0.01)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    if process.poll() is None:
        os.killpg(process.pid, by)
    said, _ = process.communicate()
    last, torn = newest_checkpoint(folder)
    for path in (folder / "checkpoints").glob("[!.]*.ckpt"):
        assert is_whole_checkpoint(path), f"{path} is torn"
        torch.load(path, weights_only=True)
    assert not torn
    if process.returncode not in (-by, PREEMPTED_EXIT_CODE):
        return (
            f"ended with {process.returncode} before: {said[-300:] if process.returncode else ''}"
        )
    kept = torch.load(last, weights_only=True)["global_step"] if last else 0
    how = "told to leave" if process.returncode == PREEMPTED_EXIT_CODE else "killed"
    return f"{how} after {seconds:.1f} s, {kept} steps kept"


def differences(first: Path, second: Path) -> list[str]:
    """Name what is not bit for bit equal in two finished run folders."""
    unequal = [
        name
        for name in ("metrics.csv", "scores.csv", "status")
        if (first / name).read_bytes() != (second / name).read_bytes()
    ]
    for name in ("best.ckpt", "last.ckpt"):
        pair = [torch.load(f / "checkpoints" / name, weights_only=True) for f in (first, second)]
        unequal += _unequal(pair[0], pair[1], name, (str(first), str(second)))
    names = [{p.name for p in (f / "fields").glob("[!.]*.npz")} for f in (first, second)]
    if names[0] != names[1] or not names[0]:
        unequal.append(f"fields: {names}")
    for name in sorted(names[0] & names[1]):
        with np.load(first / "fields" / name) as a, np.load(second / "fields" / name) as b:
            unequal += [
                f"{name}/{k}" for k in a.files if k not in b or a[k].tobytes() != b[k].tobytes()
            ]
    return unequal


def _unequal(first: Any, second: Any, path: str, folders: tuple[str, str]) -> list[str]:
    if isinstance(first, dict) and isinstance(second, dict):
        first, second = (
            {str(k).replace(f, ""): v for k, v in d.items()}
            for d, f in zip((first, second), folders, strict=True)
        )
        if first.keys() != second.keys():
            return [f"{path}: keys {sorted(first.keys() ^ second.keys())}"]
        return [u for k in first for u in _unequal(first[k], second[k], f"{path}/{k}", folders)]
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        if len(first) != len(second):
            return [path]
        pairs = enumerate(zip(first, second, strict=True))
        return [u for i, (a, b) in pairs for u in _unequal(a, b, f"{path}/{i}", folders)]
    if isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
        return [] if first.dtype == second.dtype and torch.equal(first, second) else [path]
    if type(first) is not type(second):
        return [path]
    if isinstance(first, str):
        return [] if first.replace(folders[0], "") == second.replace(folders[1], "") else [path]
    return [] if first == second or (first != first and second != second) else [path]


def chaos(folder: Path, reference: Path, span: float, seed: int, times: int | None = None) -> str:
    """Kill or stop a run once or twice at random moments, finish it, say what differs."""
    dice = random.Random(seed)
    story = [
        kill(folder, dice.uniform(0, span), dice.choice([signal.SIGKILL, PREEMPTION_SIGNAL]))
        for _ in range(times or (2 if dice.random() < 0.4 else 1))
    ]
    finish(folder)
    unequal = differences(reference, folder)
    end = f"DIFFERS: {unequal[:5]}" if unequal else "bit-equal"
    return f"seed {seed}: {'; '.join(story)}; {end}"
