"""Sweeps on a real Slurm of one node: arrays of jobs, two ranks each."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch

from tests.slurm import cluster
from tests.support import ROOT, TINY

pytestmark = [pytest.mark.slurm, pytest.mark.slow]
SLURM = [o for o in TINY if o.split("=")[0] not in {"trainer", "+trainer.strategy", "logger"}]
SLURM += ["trainer=cluster", "trainer.devices=2", "trainer.log_every_n_steps=1"]
SLURM += ["hydra/launcher=slurm", "hydra.launcher.gpus_per_node=null"]
SLURM += ["hydra.launcher.cpus_per_task=1", "hydra.launcher.array_parallelism=2"]
STEPS = 2  # of an epoch: 8 images, 2 in a batch, 2 ranks


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    if reason := cluster.missing():
        pytest.skip(reason)
    with cluster.running(tmp_path_factory.mktemp("slurm")) as environment:
        yield {**environment, "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}


def start(environment: dict[str, str], *overrides: str) -> subprocess.Popen[str]:
    command = [sys.executable, "run.py", "-m", *SLURM, *overrides]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=-1, stderr=-2, text=True)


def await_it(true: Callable[[], object], seconds: float = 600.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.3)


def said(job: Path, name: str = "status") -> str:
    return (job / name).read_text().strip() if (job / name).is_file() else ""


def ask(environment: dict[str, str], *command: str) -> str:
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False
    ).stdout.strip()


def test_a_failing_job_leaves_the_others_of_its_array_alone(
    slurm: dict[str, str], tmp_path: Path
) -> None:
    options = ["metric=val/nss,val/bleu,val/kl", "logger=csv", "trainer.max_epochs=1"]
    sweep = start(slurm, *options, f"hydra.sweep.dir={tmp_path}")
    out, _ = sweep.communicate(timeout=1200)
    assert sweep.returncode == 1, out
    assert "2 done, 1 failed, 0 skipped" in out
    assert "ValueError: metric=val/bleu:" in " ".join(out.split())  # a narrow column wraps it
    first, failed, third = sorted(tmp_path.glob("[0-9]-*"))
    for job in (first, third):
        checkpoint = torch.load(job / "checkpoints" / "last.ckpt", weights_only=True)
        assert len(checkpoint["random"]) == 2  # ranks
        assert checkpoint["global_step"] == STEPS
        assert f"{json.loads(said(job, 'done'))['score']:.4f}" in out
        assert len(pd.read_csv(job / "scores.csv")) == 3
    assert said(failed).startswith("failed: ValueError: metric=val/bleu")
    assert "report.html" in (tmp_path / "report.html").read_text()


def test_a_job_out_of_time_goes_on_in_its_folder_and_a_cancelled_one_is_told_of(
    slurm: dict[str, str], tmp_path: Path
) -> None:
    epochs = 8
    options = ["seed=0,1", f"trainer.max_epochs={epochs}", f"hydra.sweep.dir={tmp_path}"]
    sweep = start(slurm, *options)
    job, cancelled = (tmp_path / f"{i}-resnet18-conv5-kl_cc_nss-s{i}" for i in range(2))
    await_it(lambda: said(cancelled) == "running" or sweep.poll())
    number = ask(slurm, "squeue", "--noheader", "--array", "--format=%F").split()[0]
    ask(slurm, "scancel", f"{number}_1")
    await_it(lambda: (job / "checkpoints" / "last.ckpt").is_file() or sweep.poll())
    ask(slurm, "scancel", "--signal=USR2", f"{number}_0")  # as --signal=USR2@… sends it
    await_it(lambda: said(job) == "preempted" or sweep.poll())
    epoch = torch.load(job / "checkpoints" / "last.ckpt", weights_only=True)["epoch"]
    assert epoch < epochs - 1, "it was told to leave too late"

    def again() -> object:  # Slurm lets a requeued job wait for two minutes
        ask(slurm, "scontrol", "update", f"JobId={number}_0", "StartTime=now")
        return said(job) in {"running", "done"} or sweep.poll()

    await_it(again)
    out, _ = sweep.communicate(timeout=1200)
    assert sweep.returncode == 1, out
    assert "1 done, 1 failed, 0 skipped" in out
    assert "CANCELLED" in out
    assert "CANCELLED" in said(cancelled)
    complete(job, epochs)
    runs = list((job / "wandb").glob("offline-run-*"))
    assert len(runs) == 2  # segments
    assert {run.name.split("-")[-1] for run in runs} == {said(job, "wandb_id")}
    sweep = start(slurm, *options)
    out, _ = sweep.communicate(timeout=1200)
    assert sweep.returncode == 0, out
    assert "1 done, 0 failed, 1 skipped" in out
    complete(cancelled, epochs)


def complete(job: Path, epochs: int) -> None:
    """No step of the training and no validation is missing in the record, or there twice."""
    logged = pd.read_csv(job / "metrics.csv")
    assert [*logged.dropna(subset="train/loss")["step"]] == [*range(epochs * STEPS)]
    assert [*logged.dropna(subset="val/nss")["epoch"]] == [*range(epochs)]
    assert said(job) == "done"
