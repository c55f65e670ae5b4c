import json
import os
from pathlib import Path

import pytest
from submitit.slurm.slurm import SlurmExecutor

from deepsal.runs import folder as run_folder
from deepsal.sweeps.submitit_jobs import (
    MissingResult,
    SqueueWatcher,
    _job_outcome,
    _slurm_affinity,
    job_name,
)


def test_states_come_from_squeue_and_a_forgotten_job_has_ended() -> None:
    watcher = SqueueWatcher()
    for number in ("7_0", "7_1", "7_2", "8", "9"):
        watcher.register_job(number)
    said = "7_0|RUNNING\n7_1|CANCELLED\n7_2|CONFIGURING\n8_N/A|PENDING\n5_0|FAILED\n"
    watcher._info_dict.update(watcher.read_info(said))
    done = {number: watcher.is_done(number, mode="cache") for number in watcher._registered}
    assert done == {"7_0": False, "7_1": True, "7_2": False, "8": False, "9": True}
    assert watcher.get_state("7_1", mode="cache") == "CANCELLED"


def test_how_a_job_ended_is_in_its_folder(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("seed: 0\n")
    (tmp_path / "status").write_text("failed: ValueError: metric=val/bleu\n")
    assert _job_outcome(tmp_path, None, 0.0).reason == "ValueError: metric=val/bleu"
    assert (
        _job_outcome(tmp_path, MissingResult("exit"), 0.0).reason
        == "ValueError: metric=val/bleu; exit"
    )
    run_folder.mark_done(tmp_path, 0.5)
    assert json.loads((tmp_path / "done").read_text())["score"] == 0.5
    os.utime(tmp_path / "done", (100, 100))
    assert _job_outcome(tmp_path, None, 99.0).status == "done"
    assert _job_outcome(tmp_path, None, 101.0).status == "skipped"


def test_a_job_that_never_came_back_is_spoken_for(tmp_path: Path) -> None:
    (tmp_path / "status").write_text("running\n")
    assert _job_outcome(tmp_path, MissingResult("its state is CANCELLED"), 0.0).status == "failed"
    assert (tmp_path / "status").read_text() == "failed: its state is CANCELLED\n"
    never = _job_outcome(tmp_path / "1 seed=1", MissingResult("its state is TIMEOUT"), 0.0)
    assert (never.name, never.reason) == ("1 seed=1", "its state is TIMEOUT")


def test_a_job_without_a_folder_has_a_name_that_a_file_can_have(tmp_path: Path) -> None:
    name = job_name("3", [f"data.option{i}=/some/where/{i}" for i in range(50)])
    assert name.startswith("3 data.option0=_some_where_0 data.option1=")
    assert _job_outcome(tmp_path / name, MissingResult("its state is FAILED"), 0.0).name == name


def test_a_machine_without_slurm_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match=r"no Slurm here .*set hydra/launcher=local"):
        _slurm_affinity(SlurmExecutor)
    (tmp_path / "srun").touch(mode=0o755)
    assert _slurm_affinity(SlurmExecutor) > 0
