"""A tiny run to kill, and what must be equal in two run folders."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
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


def start(*options: str, folder: Path = ROOT) -> subprocess.Popen[str]:
    """Start `run.py`, which a signal can interrupt as from a terminal, in a session of its own.

    Args:
        options: of the command line.
        folder: the current folder of the process.
    """
    variables = {**fresh_environment(os.environ), "OMP_NUM_THREADS": "1", "COLUMNS": "80"}
    return subprocess.Popen(
        [sys.executable, str(ROOT / "run.py"), *options],
        cwd=folder,
        env={**variables, "WANDB_MODE": "offline", "DEEPSAL_DATA": str(ROOT / "data")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )


def start_or_resume(folder: Path) -> subprocess.Popen[str]:
    """Start the tiny run in a folder, or resume it."""
    resumed = (folder / "config.yaml").is_file()
    return start(f"resume={folder}") if resumed else start(*TINY, f"hydra.run.dir={folder}")


def finish(folder: Path) -> float:
    """Run or continue to the end; return the seconds since the run's work began."""
    fresh = not (folder / "config.yaml").is_file()
    process = start_or_resume(folder)
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
    process = start_or_resume(folder)
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


def differences(first: Path, second: Path, former: Sequence[Path] = ()) -> list[str]:
    """Name what is not bit for bit equal in two finished run folders.

    Args:
        first: a run folder.
        second: another one.
        former: places where the second was before it was moved or copied.
    """
    places = [str(place) for place in (first, second, *former)]
    unequal = [
        name
        for name in ("metrics.csv", "scores.csv", "status")
        if (first / name).read_bytes() != (second / name).read_bytes()
    ]
    for name in ("best.ckpt", "last.ckpt"):
        pair = [torch.load(f / "checkpoints" / name, weights_only=True) for f in (first, second)]
        unequal += _unequal(pair[0], pair[1], name, places)
    names = [{p.name for p in (f / "fields").glob("[!.]*.npz")} for f in (first, second)]
    if names[0] != names[1] or not names[0]:
        unequal.append(f"fields: {names}")
    for name in sorted(names[0] & names[1]):
        with np.load(first / "fields" / name) as a, np.load(second / "fields" / name) as b:
            unequal += [
                f"{name}/{k}" for k in a.files if k not in b or a[k].tobytes() != b[k].tobytes()
            ]
    return unequal


def _unequal(first: Any, second: Any, path: str, places: Sequence[str]) -> list[str]:
    if isinstance(first, dict) and isinstance(second, dict):
        first, second = (
            {_without_place(str(k), places): v for k, v in each.items()} for each in (first, second)
        )
        if first.keys() != second.keys():
            return [f"{path}: keys {sorted(first.keys() ^ second.keys())}"]
        return [u for k in first for u in _unequal(first[k], second[k], f"{path}/{k}", places)]
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        if len(first) != len(second):
            return [path]
        pairs = enumerate(zip(first, second, strict=True))
        return [u for i, (a, b) in pairs for u in _unequal(a, b, f"{path}/{i}", places)]
    if isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
        return [] if first.dtype == second.dtype and torch.equal(first, second) else [path]
    if type(first) is not type(second):
        return [path]
    if isinstance(first, str):
        return [] if _without_place(first, places) == _without_place(second, places) else [path]
    return [] if first == second or (first != first and second != second) else [path]


def _without_place(text: str, places: Sequence[str]) -> str:
    for place in sorted(places, key=len, reverse=True):
        text = text.replace(place, "")
    return text


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
