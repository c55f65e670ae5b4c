"""Signals to a sweep, moved and copied folders, and two starts at once."""

import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

from tests.chaos.runs import TINY, differences, start

SHORT = [*TINY, "trainer.max_epochs=2", "rf.stages=[conv1]"]
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)
SECONDS_TO_END = 60.0
"""After a signal: processes still start, or write a checkpoint, on a busy machine."""


def start_sweep(folder: Path) -> subprocess.Popen[str]:
    """Start a sweep of two short jobs, or resume it."""
    return start("-m", *SHORT, "seed=0,1", f"hydra.sweep.dir={folder}")


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
    whole = len([*folder.glob("*/done")]) == 2  # the signal came at the very end
    assert process.returncode or whole, f"exit code 0 after {ended}: {said}"
    until = time.monotonic() + SECONDS_TO_END
    while alive := processes_of(folder):
        assert time.monotonic() < until, f"{alive} train on after {ended}"
        time.sleep(0.1)
    assert not [f for f in folder.glob("*/status") if f.read_text() == "running\n"], ended
    return ended


def two_starts(folder: Path, reference: Path, named: bool) -> list[str]:
    """Start two equal runs at once; return what is not as if each had been alone.

    Args:
        folder: a new folder.
        reference: a finished sweep.
        named: both get it as their run folder, and one must be refused. Otherwise each must have a
            folder of its own below it.
    """
    folder.mkdir()
    options = [*SHORT, "seed=0", *([f"hydra.run.dir={folder}"] if named else [])]
    processes = [start(*options, folder=folder) for _ in range(2)]
    outputs = [process.communicate()[0] for process in processes]
    codes = sorted(process.returncode for process in processes)
    refused = any("works in" in said or "holds a training" in said for said in outputs)
    if codes != [0, int(named)] or refused != named:
        return [f"two starts ended with {codes}: {outputs}"]
    runs = [folder] if named else [file.parent for file in folder.glob("runs/*/*/done")]
    if len(runs) != 2 - named:
        return [f"two starts left {len(runs)} runs"]
    return [each for run in runs for each in differences(next(reference.glob("0-*")), run)]


def move_or_copy(folder: Path, how: str) -> Path:
    """Move or copy a sweep; return the folder that it is resumed in."""
    other = folder.with_name(f"{folder.name}-{how}")
    if how == "moved":
        shutil.move(folder, other)
    elif how == "copied":
        shutil.copytree(folder, other)
    return folder if how == "stayed" else other


def contents(folder: Path) -> dict[Path, bytes]:
    """Return the contents of all files of a sweep's jobs."""
    return {file: file.read_bytes() for file in folder.glob("*/**/*") if file.is_file()}


def chaos(folder: Path, reference: Path, span: float, seed: int) -> str:
    """Interrupt a sweep and move or copy it, once or twice, and finish it; say what differs.

    Two runs are then started at once.
    """
    dice = random.Random(seed)
    story: list[str] = []
    originals: dict[Path, bytes] = {}
    unequal: list[str] = []
    places = [folder]
    for turn in range(dice.choice((1, 2))):
        number = SIGNALS[(seed + turn) % len(SIGNALS)]
        story.append(interrupt(folder, dice.uniform(0.2, 1) * span, number))
        how = dice.choice(("moved", "copied", "stayed")) if folder.is_dir() else "stayed"
        if how == "copied":
            originals |= contents(folder)
        folder = move_or_copy(folder, how)
        places.append(folder)
        story.append(how)
    finish_sweep(folder)
    for job in sorted(reference.glob("[01]-*")):
        unequal += differences(job, folder / job.name, [place / job.name for place in places])
    unequal += [str(file) for file, content in originals.items() if file.read_bytes() != content]
    named = dice.random() < 0.5
    unequal += two_starts(reference.with_name(f"two-{seed}"), reference, named)
    story.append(f"two starts{' in one folder' if named else ''}")
    verdict = f"DIFFERS: {unequal[:5]}" if unequal else "bit-equal"
    return f"sweep {seed}: {'; '.join(story)}; {verdict}"
