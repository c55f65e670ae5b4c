"""Sweeps through the door: fresh processes, several ranks, ranks that die."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

from tests.support import ROOT, TINY

pytestmark = pytest.mark.slow


def start(*overrides: str, variables: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **(variables or {})}
    command = [sys.executable, "run.py", "-m", *TINY, *overrides]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=-1, stderr=-2, text=True, start_new_session=True
    )


def finish(*overrides: str, code: int = 0, variables: Mapping[str, str] | None = None) -> str:
    process = start(*overrides, variables=variables)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == code, said
    return said


def jobs(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir())


def score(job: Path) -> float:
    return float(json.loads((job / "done").read_text())["score"])


def ranks(job: Path) -> int:
    checkpoint = torch.load(job / "checkpoints" / "last.ckpt", weights_only=True)
    return len(checkpoint["random"])


def test_devices_of_a_sweep_are_processes_whatever_ranks_the_environment_holds(
    tmp_path: Path,
) -> None:
    stale = {"LOCAL_RANK": "1", "MASTER_PORT": "1", "WORLD_SIZE": "5", "NODE_RANK": "3"}
    said = finish("trainer.devices=2,1", f"hydra.sweep.dir={tmp_path}", variables=stale)
    two, one = jobs(tmp_path)
    assert (two.name[0], ranks(two), one.name[0], ranks(one)) == ("0", 2, "1", 1)
    for job in (two, one):
        assert f"{score(job):.4f}" in said
        assert (job / "status").read_text() == "done\n"
        assert pd.read_csv(job / "scores.csv")["name"].is_unique
        assert len(pd.read_csv(job / "scores.csv")) == min(3, 2 * ranks(job))  # of three images
    assert "2 done, 0 failed" in said


def test_one_seed_twice_gives_one_number_twice(tmp_path: Path) -> None:
    finish("seed=0,0", f"hydra.sweep.dir={tmp_path}")
    first, second = jobs(tmp_path)
    assert score(first) == score(second)
    assert (first / "metrics.csv").read_bytes() == (second / "metrics.csv").read_bytes()


def ranks_of(process: subprocess.Popen[str]) -> list[int]:
    """The processes below the sweep's that train on a job with a status, children last."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            session = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[3])
            if session == process.pid and b"resume=" in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except (OSError, IndexError):
            continue
    return sorted(found)


def test_a_killed_rank_ends_its_job_within_a_minute_and_no_other(tmp_path: Path) -> None:
    forever = ["trainer.devices=2", "trainer.max_epochs=100000,1", "trainer.limit_train_batches=2"]
    process = start(*forever, f"hydra.sweep.dir={tmp_path}")
    end = time.monotonic() + 120
    while not list(tmp_path.glob("0-*/checkpoints/last.ckpt")) and time.monotonic() < end:
        time.sleep(0.2)
    first, second = ranks_of(process)
    os.kill(second, signal.SIGKILL)
    killed = time.monotonic()
    while "failed" not in next(tmp_path.glob("0-*/status")).read_text():
        assert time.monotonic() < killed + 60
        time.sleep(0.2)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 1, said
    assert "1 done, 1 failed" in said
    assert not Path(f"/proc/{first}").exists()
    assert ranks(jobs(tmp_path)[1]) == 2


def test_local_jobs_spread_over_the_chosen_devices(tmp_path: Path) -> None:
    options = ["hydra/launcher=local", "seed=0,1,2", "trainer.accelerator=auto", "do=[fit]"]
    chosen = {"CUDA_VISIBLE_DEVICES": "5,6"}  # there are none: the training takes the CPU
    process = start(*options, f"hydra.sweep.dir={tmp_path}", variables=chosen)
    seen: dict[str, str] = {}
    while process.poll() is None:
        for number in ranks_of(process):
            try:
                command = Path(f"/proc/{number}/cmdline").read_text()
                variables = Path(f"/proc/{number}/environ").read_text().split("\0")
            except OSError:
                continue
            device = next(v for v in variables if v.startswith("CUDA_VISIBLE_DEVICES="))
            seen[command.split("resume=")[1].split("\0")[0]] = device.split("=")[1]
        time.sleep(0.1)
    said, _ = process.communicate()
    assert "3 done, 0 failed" in said
    assert {Path(folder).name[0] for folder in seen} == {"0", "1", "2"}
    assert set(seen.values()) == {"5", "6"}


def test_a_search_goes_on_where_it_was(tmp_path: Path) -> None:
    options = ["hydra/sweeper=search", "optim.lr=interval(1e-4,1e-2)", "metric=val/kl"]
    options += [f"hydra.sweep.dir={tmp_path}", "trainer.devices=1"]
    finish(*options, "hydra.sweeper.n_trials=3")
    assert len(jobs(tmp_path)) == 3
    finish(*options, "hydra.sweeper.n_trials=2")
    assert len(jobs(tmp_path)) == 5
    with sqlite3.connect(tmp_path / "optuna.db") as database:
        told = [value for (value,) in database.execute("SELECT value FROM trial_values")]
        directions = database.execute("SELECT direction FROM study_directions").fetchall()
    assert sorted(told) == sorted(map(score, jobs(tmp_path)))
    assert directions == [("MINIMIZE",)]
    best = yaml.safe_load((tmp_path / "optimization_results.yaml").read_text())
    assert best["best_value"] == min(told)
