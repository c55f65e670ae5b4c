import hashlib
import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
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
from tests.support import ROOT
from tests.training.wandb_server import wandb_server


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
    return file, finished_records(file)


def finished_records(file: Path) -> list[Record]:
    until = time.monotonic() + 60
    entries: list[Record] = []
    while not any(r.HasField("exit") for r in entries):
        assert time.monotonic() < until, "W&B has not ended the run"
        time.sleep(0.1)
        entries = list(records(file))
    return entries


def history(entries: Iterable[Record]) -> list[dict[str, Any]]:
    """Return the rows that a run logged; a figure is a dictionary."""
    rows: list[dict[str, Any]] = []
    for entry in entries:
        if entry.HasField("history"):
            rows.append({})
            for item in entry.history.item:
                key, *inner = item.nested_key or [item.key]
                value = json.loads(item.value_json)
                if inner:
                    rows[-1].setdefault(key, {})[inner[0]] = value
                else:
                    rows[-1][key] = value
    return rows


def figures(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the figures of rows, as W&B describes them."""
    values = [value for row in rows for value in row.values() if isinstance(value, dict)]
    return [value for value in values if value.get("_type") == "image-file"]


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
    run_id = (tmp_path / "wandb_id").read_text()
    assert f"wandb sync {tmp_path}/wandb/offline-run-*-{run_id}" in caplog.text
    file, entries = finished(tmp_path)
    run = next(r.run for r in entries if r.HasField("run"))
    assert run.run_id == run_id
    assert (run.display_name, run.job_type, list(run.tags)) == ("toy", "fit-test", ["vgg16"])
    assert run.run_group == tmp_path.parent.name
    configured = {i.key for r in entries if r.HasField("config") for i in r.config.update}
    configured |= {i.key for i in run.config.update}
    assert "backbone" in configured
    steps = history(entries)
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
    copies = [c.local_path for kind in files for c in types[kind].manifest.contents]
    assert all("wandb/artifacts/staging/" in path for path in copies), "docs/cluster.md says so"


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


class LeaveAfterEpoch(pl.Callback):
    """End a training after its current epoch, as a preemption does."""

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        trainer.should_stop = True


def train_one_epoch(folder: Path) -> None:
    """Train offline from the last checkpoint in a folder, if any, and leave a checkpoint."""
    logger, last = WeightsAndBiases(folder), folder / "last.ckpt"
    watch = WatchReceptiveFields(
        folder, stages=["conv1"], units=2, patches=1, window=33, tuning=False
    )
    trainer = pl.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=[csv_logger(folder), logger],
        log_every_n_steps=1,
        num_sanity_val_steps=0,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[watch, ShowPredictions(folder, images=1), LeaveAfterEpoch()],
    )
    resumed = last if last.is_file() else None
    trainer.fit(task(), datamodule(), ckpt_path=resumed, weights_only=True)
    trainer.save_checkpoint(last)
    logger.close()


@pytest.fixture
def segments(tmp_path: Path) -> list[Path]:
    """The files of an offline run that was resumed once, and then moved."""
    folder, moved = tmp_path / "run", tmp_path / "moved"
    for _ in range(2):
        train_one_epoch(folder)
    files = sorted(folder.glob("wandb/offline-run-*/*.wandb"), key=os.path.getmtime)
    for file in files:
        finished_records(file)
    folder.rename(moved)
    return [moved / file.relative_to(folder) for file in files]


def sync(address: str, files: list[Path], cwd: Path) -> str:
    """Run `wandb sync` with the folders of offline files; return its output."""
    login = {"WANDB_BASE_URL": address, "WANDB_API_KEY": "x" * 40}
    done = subprocess.run(
        [sys.executable, "-m", "wandb", "sync", *(file.parent for file in files)],
        env={**os.environ, **login},
        cwd=cwd,
        stdout=-1,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_a_resumed_offline_run_is_one_run_on_the_server_with_all_its_figures(
    segments: list[Path], tmp_path: Path
) -> None:
    first, second = (finished_records(file) for file in segments)
    runs = [r.run for entries in (first, second) for r in entries if r.HasField("run")]
    run_id = (tmp_path / "moved" / "wandb_id").read_text()
    assert [(run.run_id, run.resume) for run in runs] == [(run_id, True)] * 2
    for file, entries in zip(segments, (first, second), strict=True):
        uploaded = {f.path for r in entries if r.HasField("files") for f in r.files.files}
        for figure in figures(history(entries)):
            content = (file.parent / "files" / figure["path"]).read_bytes()
            assert figure["path"] in uploaded
            assert figure["size"] == len(content)
            assert figure["sha256"] == hashlib.sha256(content).hexdigest()
    rows = history(first) + history(second)
    steps = [row["trainer/global_step"] for row in rows]
    assert steps == sorted(steps), "the resumed training does not go back"
    with wandb_server() as server:
        sync(server.address, segments, tmp_path)
        assert server.runs == {run_id}
        sent = server.history()
        assert [row["_step"] for row in sent] == list(range(len(rows)))
        assert [row["trainer/global_step"] for row in sent] == steps
        assert len(figures(sent)) == len(figures(rows)) > 6
        for figure in figures(sent):
            content = server.uploads[figure["path"]]
            assert figure["sha256"] == hashlib.sha256(content).hexdigest()
        assert "Skipped 2 synced" in sync(server.address, segments, tmp_path)
        assert server.history() == sent


def test_segments_may_be_uploaded_one_by_one(segments: list[Path], tmp_path: Path) -> None:
    with wandb_server() as server:
        for file in segments:
            sync(server.address, [file], tmp_path)
        rows = [row for file in segments for row in history(finished_records(file))]
        steps = [row["trainer/global_step"] for row in server.history()]
        assert steps == [row["trainer/global_step"] for row in rows]
        assert [row["_step"] for row in server.history()] == list(range(len(rows)))


KILLED_RUN = """
import os, pathlib, signal, sys, time
from deepsal.training.wandb_log import FLUSH_SECONDS, WeightsAndBiases
from tests.training.test_wandb_log import history, records

logger = WeightsAndBiases(sys.argv[1])
logger.log_metrics({"val/nss": 1.0}, step=0)
assert logger.experiment.settings.x_transaction_log_flush_interval == FLUSH_SECONDS
(file,) = pathlib.Path(sys.argv[1]).glob("wandb/offline-run-*/*.wandb")
while not history(records(file)):
    time.sleep(0.1)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_offline_run_can_be_uploaded(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED_RUN, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == -signal.SIGKILL, done.stderr
    files = [*tmp_path.glob("wandb/offline-run-*/*.wandb")]
    with wandb_server() as server:
        sync(server.address, files, tmp_path)
        assert [row["val/nss"] for row in server.history()] == [1.0]
        assert server.exit_codes == [1], "W&B shows it as failed"


def test_limits_of_the_upload_are_those_that_the_docs_state(
    segments: list[Path], tmp_path: Path
) -> None:
    first, second = segments
    early, late = (len(history(finished_records(file))) for file in segments)
    with wandb_server() as server:
        for file in (second, first):
            sync(server.address, [file], tmp_path)
        assert server.history()[late]["trainer/global_step"] == 0, "in the order of the uploads"
        first.with_name(f"{first.name}.synced").unlink()
        sync(server.address, [first], tmp_path)
        assert len(server.history()) == late + 2 * early, "without its mark it is appended again"
        assert server.exit_codes == [0, 0, 0]
    second.with_name(f"{second.name}.synced").unlink()
    first.write_bytes(first.read_bytes()[:7])
    first.with_name(f"{first.name}.synced").unlink()
    with wandb_server() as server:
        assert "Failed to read" in sync(server.address, segments, tmp_path)
        assert server.history() == [], "one file without records stops the others"
