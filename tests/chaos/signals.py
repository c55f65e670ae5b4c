"""Signals to a sweep, moved and copied folders, and two starts at once."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from deepsal.runs.process import fresh_environment
from tests.chaos.runs import ROOT, TINY, differences

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)
SECONDS_TO_END = 60.0
"""After a signal: processes still start, or write a checkpoint, on a busy machine."""


def start(*options: str) -> subprocess.Popen[str]:
    """Start `run.py`, which a signal can interrupt as from a terminal, in a session of its own."""
    variables = {**fresh_environment(os.environ), "OMP_NUM_THREADS": "1", "COLUMNS": "80"}
    return subprocess.Popen(
        [sys.executable, "run.py", *TINY, *options],
        cwd=ROOT,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def start_sweep(folder: Path) -> subprocess.Popen[str]:
    """Start a sweep of two short jobs, or resume it."""
    return start("-m", "seed=0,1", "trainer.max_epochs=2", f"hydra.sweep.dir={folder}")


def finish_sweep(folder: Path) -> float:
    """Run or resume a sweep to its end; return the seconds that it took."""
    began, process = time.monotonic(), start_sweep(folder)
    said, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(said)
    return time.monotonic() - began


def processes_of(folder: Path) -> list[int]:
    """Return the processes whose command line has a run folder inside this folder."""
    pids = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if f"resume={folder}/".encode() in (entry / "cmdline").read_bytes():
                pids.append(int(entry.name))
        except OSError:  # it has ended
            continue
    return pids


def interrupt(folder: Path, seconds: float, number: int) -> str:
    """Send a signal to a sweep alone after some seconds; nothing may train on."""
    process = start_sweep(folder)
    try:
        process.wait(seconds)
        ended = "had ended"
    except subprocess.TimeoutExpired:
        process.send_signal(number)
        ended = f"{signal.Signals(number).name} after {seconds:.1f} s"
    said, _ = process.communicate()
    assert process.returncode or ended == "had ended", f"exit code 0 after a signal: {said}"
    until = time.monotonic() + SECONDS_TO_END
    while alive := processes_of(folder):
        assert time.monotonic() < until, f"{alive} train on after {ended}"
        time.sleep(0.1)
    assert not [f for f in folder.glob("*/status") if f.read_text() == "running\n"], ended
    return ended


def two_starts(folder: Path, reference: Path) -> list[str]:
    """Start two runs in one folder at once; one must end as if alone, and the other be refused."""
    options = ("seed=0", "trainer.max_epochs=2", f"hydra.run.dir={folder}")
    processes = [start(*options), start(*options)]
    outputs = [process.communicate()[0] for process in processes]
    codes = sorted(process.returncode for process in processes)
    refused = any("works in" in said or "holds a training" in said for said in outputs)
    if codes != [0, 1] or not refused:
        return [f"two starts ended with {codes}: {outputs}"]
    return differences(next(reference.glob("0-*")), folder)


def chaos(folder: Path, reference: Path, span: float, seed: int) -> str:
    """Interrupt a sweep, move or copy it, finish it; start two runs at once; say what differs."""
    dice = random.Random(seed)
    story = [interrupt(folder, dice.uniform(0.2, 1) * span, SIGNALS[seed % len(SIGNALS)])]
    other = folder.with_name(f"{folder.name}-other")
    how = dice.choice(("moved", "copied", "stayed")) if folder.is_dir() else "not begun"
    before = {file: file.read_bytes() for file in folder.glob("*/[!.]*") if file.is_file()}
    if how == "moved":
        shutil.move(folder, other)
    elif how == "copied":
        shutil.copytree(folder, other)
    end = other if how in {"moved", "copied"} else folder
    finish_sweep(end)
    unequal = [
        difference
        for job in sorted(reference.glob("[01]-*"))
        for difference in differences(job, end / job.name)
    ]
    if how == "copied":
        unequal += [str(file) for file, content in before.items() if file.read_bytes() != content]
    unequal += two_starts(folder.with_name(f"{folder.name}-two"), reference)
    verdict = f"DIFFERS: {unequal[:5]}" if unequal else "bit-equal"
    return f"sweep {seed}: {'; '.join([*story, how, 'two starts'])}; {verdict}"
