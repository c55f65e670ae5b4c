import os
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import wandb
from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]

from deepsal.callbacks import ShowPredictions, WatchReceptiveFields
from deepsal.training.csv_log import csv_logger
from deepsal.training.wandb_log import WeightsAndBiases
from tests.conftest import datamodule, task


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("WANDB")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def records(file: Path) -> Iterator[Record]:
    """Read W&B's offline file: a LevelDB log of protobuf records behind a 7-byte header."""
    data, at, whole = file.read_bytes(), 7, b""
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a full record or the last part of one
            record = Record()
            record.ParseFromString(whole)
            yield record
            whole = b""


def finished(folder: Path) -> tuple[Path, list[Record]]:
    """Return the only offline run's file and records; W&B may write the last after `finish`."""
    (file,) = folder.glob("wandb/offline-run-*/*.wandb")
    until = time.monotonic() + 60
    entries: list[Record] = []
    while not any(r.HasField("exit") for r in entries):
        assert time.monotonic() < until, "W&B has not ended the run"
        time.sleep(0.1)
        entries = list(records(file))
    return file, entries


def test_an_offline_run_holds_scores_fields_pictures_and_config(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    logger = WeightsAndBiases(tmp_path, name="toy", job_type=["fit", "test"], tags=["vgg16"])
    logger.log_hyperparams({"backbone": {"name": "toy"}})
    watch = WatchReceptiveFields(
        tmp_path, stages=["conv1", "conv4"], units=4, patches=2, window=33, tuning=False
    )
    trainer = pl.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=[csv_logger(tmp_path), logger],
        num_sanity_val_steps=0,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[watch, ShowPredictions(tmp_path, images=2)],
    )
    trainer.fit(task(), datamodule())
    logger.close()
    assert "wandb sync" in caplog.text
    file, entries = finished(tmp_path)
    run = next(r.run for r in entries if r.HasField("run"))
    assert run.run_id == (tmp_path / "wandb_id").read_text()
    assert (run.display_name, run.job_type, list(run.tags)) == ("toy", "fit-test", ["vgg16"])
    assert run.run_group == tmp_path.parent.name
    configured = {i.key for r in entries if r.HasField("config") for i in r.config.update}
    configured |= {i.key for i in run.config.update}
    assert "backbone" in configured
    steps = [
        {item.nested_key[0] if item.nested_key else item.key for item in r.history.item}
        for r in entries
        if r.HasField("history")
    ]
    for key in ("rf/conv1/centred", "rf/conv4/strongest", "rf/conv4/correlation"):
        assert sum(key in step for step in steps) == 3, f"{key}: epochs 0, 1 and 2"
    for key in ("val/predictions", "val/nss"):
        assert sum(key in step for step in steps) == 2
    for key in ("rf/conv1/evolution", "rf/conv4/profile", "rf/conv4/patches"):
        assert sum(key in step for step in steps) == 1, f"{key}: at the end"
    pictures = 3 * 2 * 2 + 2 + 2 * 3
    assert len(list(file.parent.glob("files/media/images/**/*.png"))) == pictures


def test_checkpoints_and_fields_are_artifacts_if_asked_for(tmp_path: Path) -> None:
    files = {
        "checkpoints": ["best.ckpt", "last.ckpt"],
        "fields": ["epoch=000.npz", "epoch=001.npz"],
    }
    for folder, names in files.items():
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).write_bytes(name.encode())
    logger = WeightsAndBiases(tmp_path, artifacts=True)
    logger.log_metrics({"val/nss": 1.0}, step=0)
    logger.close()
    _, entries = finished(tmp_path)
    logged = [r.artifact for r in entries if r.HasField("artifact")]
    logged += [r.request.log_artifact.artifact for r in entries if r.HasField("request")]
    types = {artifact.type: artifact for artifact in logged if artifact.type}
    uploaded = {kind: [c.path for c in types[kind].manifest.contents] for kind in files}
    assert uploaded == files


def test_a_failing_dashboard_does_not_fail_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(**_options: object) -> None:
        raise wandb.errors.CommError("no route to host")

    monkeypatch.setattr(wandb, "init", refuse)
    logger = WeightsAndBiases(tmp_path)
    logger.log_metrics({"val/nss": 1.0}, step=0)
    logger.log_metrics({"val/nss": 2.0}, step=1)
    logger.close()
    assert caplog.text.count("W&B failed") == 1
    assert "no route to host" in caplog.text


KILLED = """
import logging, os, pathlib, signal, subprocess, sys
from deepsal.training.wandb_log import WeightsAndBiases

logging.basicConfig(level=logging.WARNING, format="%(message)s")
logger = WeightsAndBiases(sys.argv[1])
logger.log_metrics({"val/nss": 1.0}, step=0)
children = subprocess.run(["ps", "--ppid", str(os.getpid()), "-o", "pid=,comm="], stdout=-1).stdout
(core,) = [int(line.split()[0]) for line in children.splitlines() if b"wandb-core" in line]
os.kill(core, signal.SIGKILL)
for step in range(1, 99):
    logger.log_metrics({"val/nss": 2.0}, step=step)
logger.close()
"""


def test_a_killed_dashboard_does_not_fail_the_training(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("W&B failed") == 1
    assert "the training continues" in done.stderr


def test_online_with_a_key_offline_without_and_wandb_mode_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert WeightsAndBiases(tmp_path).mode == "offline"
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / ".netrc").write_text("machine api.wandb.ai login user password x\n")
    (tmp_path / "home" / ".netrc").chmod(0o600)
    assert WeightsAndBiases(tmp_path).mode == "online"
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    assert WeightsAndBiases(tmp_path).mode == "offline"
    monkeypatch.delenv("WANDB_MODE")
    assert WeightsAndBiases(tmp_path).mode == "online"


def test_a_continued_run_keeps_its_id(tmp_path: Path) -> None:
    first = WeightsAndBiases(tmp_path)
    assert WeightsAndBiases(tmp_path)._id == first._id == (tmp_path / "wandb_id").read_text()
    assert WeightsAndBiases(tmp_path / "other")._id != first._id


@pytest.mark.parametrize("online", [True, False])
def test_a_run_that_cannot_start_online_is_logged_offline(
    online: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    start = wandb.init

    def refuse(**options: Any) -> Any:
        if options["mode"] == "online":
            raise wandb.errors.CommError("no route to host")
        return start(**options)

    monkeypatch.setattr(wandb, "init", refuse)
    monkeypatch.setenv("WANDB_MODE", "online" if online else "offline")
    logger = WeightsAndBiases(tmp_path)
    assert logger.experiment.id == (tmp_path / "wandb_id").read_text()
    logger.log_metrics({"val/nss": 1.0}, step=0)
    logger.close()
    assert caplog.text.count("W&B cannot start online (no route to host)") == int(online)
    assert finished(tmp_path)[1]


@pytest.mark.parametrize(
    ("options", "mode"), [({"project": "me/deepsal"}, "offline"), ({}, "nonsense")]
)
def test_an_option_that_wandb_refuses_leaves_the_csv(
    options: dict[str, Any],
    mode: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("WANDB_MODE", mode)
    logger = WeightsAndBiases(tmp_path, **options)
    trainer = pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=[csv_logger(tmp_path), logger],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(task(), datamodule())
    logger.close()
    assert caplog.text.count("W&B failed") == 1
    assert (tmp_path / "metrics.csv").is_file()
