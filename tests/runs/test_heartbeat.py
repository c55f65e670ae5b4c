import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deepsal.runs import heartbeat
from deepsal.runs.heartbeat import SWEEP_VARIABLE, FolderInUseError

HOLD = """
import sys, time
from pathlib import Path
from deepsal.runs.heartbeat import hold_folder

with hold_folder(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def holder(folder: Path, **variables: str) -> subprocess.Popen[str]:
    """Start a process that holds a folder, and wait until it does."""
    command = [sys.executable, "-c", HOLD, str(folder)]
    environment = {**os.environ, **variables}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_folder_states_its_process_until_that_is_killed(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        worker = heartbeat.read_worker(tmp_path)
        assert worker is not None
        assert (worker.pid, heartbeat.is_alive(tmp_path)) == (process.pid, True)
        with (
            pytest.raises(FolderInUseError, match=rf"process {process.pid} on {worker.host} works"),
            heartbeat.hold_folder(tmp_path),
        ):
            pass
        process.kill()
        process.wait()
    assert not heartbeat.is_alive(tmp_path)
    with heartbeat.hold_folder(tmp_path):
        assert heartbeat.is_alive(tmp_path)
    assert heartbeat.read_worker(tmp_path) is None, "the work has ended"


def test_a_copy_of_a_folder_has_no_worker(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with heartbeat.hold_folder(tmp_path / "run"):
        shutil.copytree(tmp_path / "run", tmp_path / "copy")
        assert heartbeat.is_alive(tmp_path / "run")
        assert not heartbeat.is_alive(tmp_path / "copy")


def test_another_machine_is_alive_as_long_as_its_heart_beats(tmp_path: Path) -> None:
    inode = tmp_path.stat().st_ino
    worker = heartbeat.Worker("node7", 12, "2026-01-01", "34", "another machine", inode)
    (tmp_path / "worker.json").write_text(json.dumps(worker._asdict()))
    assert heartbeat.is_alive(tmp_path)
    old = time.time() - heartbeat.DEAD_SECONDS - 1
    os.utime(tmp_path / "worker.json", (old, old))
    assert not heartbeat.is_alive(tmp_path)


def test_a_number_that_another_process_has_now_is_not_the_worker(tmp_path: Path) -> None:
    inode, machine = tmp_path.stat().st_ino, heartbeat.machine_identity()
    worker = heartbeat.Worker("here", os.getpid(), "2026-01-01", "34", machine, inode)
    (tmp_path / "worker.json").write_text(json.dumps(worker._asdict()))
    assert not heartbeat.is_alive(tmp_path)


def test_a_process_that_cannot_be_read_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> str:
        raise OSError("out of memory")

    start = heartbeat.process_start(os.getpid())
    monkeypatch.setattr(Path, "read_text", fail)
    assert heartbeat.process_is_alive(os.getpid(), start)
    assert not heartbeat.process_is_alive(2**22 + 1, start), "there is no such process"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}'])
def test_a_damaged_file_is_no_worker(text: str, tmp_path: Path) -> None:
    (tmp_path / "worker.json").write_text(text)
    assert heartbeat.read_worker(tmp_path) is None
    assert not heartbeat.is_alive(tmp_path)


def test_a_process_whose_sweep_died_ends(tmp_path: Path) -> None:
    sweep = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    identity = f"{sweep.pid} {heartbeat.process_start(sweep.pid)}"
    with holder(tmp_path, **{SWEEP_VARIABLE: identity}) as process:
        sweep.kill()
        assert sweep.stdin is not None
        sweep.stdin.close()
        sweep.wait()
        assert process.wait(30) == -15
    assert not heartbeat.is_alive(tmp_path)


def test_other_ranks_do_not_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    with heartbeat.hold_folder(tmp_path):
        assert not [*tmp_path.iterdir()]
