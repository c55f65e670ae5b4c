"""Runs that take their network from the checkpoint of another run."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from hydra import initialize_config_dir

from deepsal.data import popout_dataset, write_csv_folder
from deepsal.runs.heartbeat import hold_folder
from deepsal.runs.provenance import read_commit
from tests.support import ROOT, SMALL, composed, execute, launch, resume, start

HERE = ["trainer=smoke", "trainer.precision=32-true", "logger=csv", "rf=none"]
OPTIONS = [*SMALL, "logger=csv", "rf=none", "finetune=conv5", "loss=kl", "optim.lr=0.002", "seed=3"]


@pytest.fixture(autouse=True)
def hydra_from_here() -> Iterator[None]:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        yield


@pytest.fixture(scope="module")
def trained_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that run.py trained and tested in a process of its own."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    launch(folder, *OPTIONS)
    return folder


def config_of(folder: Path) -> dict[str, Any]:
    return dict(yaml.safe_load((folder / "config.yaml").read_text()))


def contents(folder: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def weights(file: Path) -> dict[str, torch.Tensor]:
    return dict(torch.load(file, weights_only=True)["state_dict"])


def test_a_checkpoint_states_its_configuration_data_and_code(trained_run: Path) -> None:
    record = torch.load(trained_run / "checkpoints" / "best.ckpt", weights_only=True)["run"]
    assert record["config"] == config_of(trained_run)
    assert record["dataset"] == "pop-out (seed 0)"
    assert record["commit"] == read_commit(trained_run)
    assert record["version"]


@pytest.mark.parametrize("lone", [False, True])
def test_a_checkpoint_is_scored_without_any_option_of_its_training(
    lone: bool, trained_run: Path, tmp_path: Path
) -> None:
    ckpt = trained_run
    if lone:
        ckpt = Path(shutil.copy(trained_run / "checkpoints" / "best.ckpt", tmp_path / "x.ckpt"))
    folder = tmp_path / "again"
    launch(folder, *HERE, "do=[test,export]", f"ckpt={ckpt}", "seed=8")
    assert (folder / "scores.csv").read_text() == (trained_run / "scores.csv").read_text()
    assert (folder / "predictions.hdf5").is_file()
    config, own = config_of(folder), config_of(trained_run)
    for group in ("backbone", "decoder", "finetune", "loss", "optim", "name"):
        assert config[group] == own[group]
    page = (folder / "report.html").read_text()
    assert "<h1>resnet18-conv5-kl-s3</h1>" in page
    assert "<dt>seed</dt><dd>3</dd>" in page


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of four images: `parts` has all three splits, `alone` test images alone."""
    root = tmp_path_factory.mktemp("generated")
    write_csv_folder(popout_dataset((1, 1, 2), size=(40, 60)), root / "parts")
    write_csv_folder(popout_dataset((1, 1, 2), size=(40, 60), split="all"), root / "alone")
    assert set(pd.read_csv(root / "alone" / "splits.csv")["split"]) == {"test"}
    return root


@pytest.mark.parametrize(
    ("option", "folder", "more"),
    [
        ("data@tested", "alone", []),
        ("data@tested", "parts", ["tested.dataset.split=all"]),
        ("data", "alone", []),
        ("data", "parts", ["data.dataset.split=all"]),
    ],
)
def test_a_checkpoint_is_scored_on_a_set_that_is_only_tested(
    option: str, folder: str, more: list[str], trained_run: Path, generated: Path, tmp_path: Path
) -> None:
    group = option.removeprefix("data@")
    own = [f"{group}.dataset.path={generated / folder}", f"{group}.dataset.sigma=5.0", *more]
    chosen = [*HERE, "do=[test]", f"ckpt={trained_run}", f"{option}=folder", *own]
    execute(composed(tmp_path, *chosen, "trainer.limit_test_batches=1.0"), tmp_path)
    assert len(pd.read_csv(tmp_path / "scores.csv")) == 4
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert (scores["dataset"], scores["trained_on"]) == (folder, "pop-out (seed 0)")
    prior = f"4 other test images of {folder}" if group == "data" else "4 training images of pop-"
    assert scores["ig_over"].startswith(f"centre prior of {prior}")


@pytest.mark.parametrize("options", [["alone"], ["parts", "data.dataset.split=all"]])
def test_a_training_on_a_set_that_is_only_tested_names_the_option(
    options: list[str], generated: Path, tmp_path: Path
) -> None:
    folder, *more = options
    few = [option for option in OPTIONS if not option.startswith(("data=", "data.dataset"))]
    few += ["data=folder", f"data.dataset.path={generated / folder}", "data.dataset.sigma=5.0"]
    message = rf"{folder} has no training images, which do=\[fit\] needs; data\.dataset\.split=all"
    with pytest.raises(ValueError, match=message):
        execute(composed(tmp_path, *few, *more), tmp_path)


def test_size_tuning_on_validation_images_is_refused_where_there_are_none(
    trained_run: Path, generated: Path, tmp_path: Path
) -> None:
    chosen = ["data=folder", f"data.dataset.path={generated / 'alone'}", "data.dataset.sigma=5.0"]
    chosen += [*HERE, "do=[v1]", "v1.textures=2", f"ckpt={trained_run}"]
    with pytest.raises(ValueError, match=r"alone has no validation images, which do=\[v1\] needs"):
        execute(composed(tmp_path, *chosen), tmp_path)


def test_what_contradicts_a_checkpoint_is_refused_before_torch_is_imported(
    trained_run: Path, tmp_path: Path
) -> None:
    options = ["do=[test]", f"ckpt={trained_run}", "finetune=none", "loss=kl", "seed=7"]
    packages, printed = start(tmp_path, *options, f"hydra.run.dir={tmp_path / 'run'}", code=1)
    assert "trained with finetune=conv5, and the command line has finetune=none; leave" in printed
    assert "Traceback" not in printed
    assert "torch" not in packages
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_a_test_does_not_replace_the_record_of_a_training(
    trained_run: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(trained_run, tmp_path / "run")
    before = contents(folder)
    options = [*HERE, "do=[test]", f"ckpt={folder}", f"hydra.run.dir={folder}"]
    _, printed = start(tmp_path, *options, code=1)
    assert "holds a training, whose record would be replaced; set hydra.run.dir" in printed
    assert contents(folder) == before


def test_a_run_whose_folder_is_in_use_changes_nothing_there(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    start(tmp_path, *OPTIONS, "do=[]", f"hydra.run.dir={folder}")
    with hold_folder(folder):
        before = contents(folder)
        _, printed = start(tmp_path, *OPTIONS, "seed=1", f"hydra.run.dir={folder}", code=1)
        assert contents(folder) == before
    assert "FolderInUseError: process" in printed
    assert "set hydra.run.dir to another folder" in printed


def test_a_training_that_starts_from_a_checkpoint_is_a_new_one(
    trained_run: Path, tmp_path: Path
) -> None:
    options = ["finetune=all", "trainer.max_epochs=2", "data=popout", "data.dataset.seed=5"]
    options += ["data.dataset.images=[6,3,3]", "data.size=[64,64]", "data.dataset.size=[64,64]"]
    config = composed(tmp_path, *HERE, *options, f"ckpt={trained_run}", "optim.lr=1e-12")
    assert config.name == "resnet18-all-kl_cc_nss-s0"
    execute(config, tmp_path)
    start, end = (weights(f / "checkpoints" / "best.ckpt") for f in (trained_run, tmp_path))
    learnt = [key for key in start if start[key].is_floating_point() and "running" not in key]
    assert all(torch.allclose(start[key], end[key], atol=1e-6) for key in learnt)
    last = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["epoch"] == 1
    assert len(last["optimizer_states"][0]["param_groups"]) > 2, "all stages learn"
    assert pd.read_csv(tmp_path / "metrics.csv")["val/nss"].count() == 2


def test_the_claims_on_a_training_from_a_checkpoint_compare_with_that_checkpoint(
    trained_run: Path, tmp_path: Path
) -> None:
    small = [*HERE, "claims.stages=[conv1]", "claims.images=2"]
    small += ["claims.plantings=10", "claims.built_in=[bn_only]"]
    second, later = tmp_path / "second", tmp_path / "later"
    data = [option for option in SMALL if option.startswith("data")]
    execute(composed(second, *small, *data, "do=[fit,claims]", f"ckpt={trained_run}"), second)
    execute(composed(later, *small, "do=[claims]", f"ckpt={second}/checkpoints/best.ckpt"), later)
    verdicts = [json.loads((folder / "verdict.json").read_text()) for folder in (second, later)]
    assert verdicts[0]["weights"] == verdicts[1]["weights"]
    fingerprints = verdicts[0]["weights"]
    assert [*fingerprints] == ["before", "after, seed 0"]
    assert len({*fingerprints.values()}) == 2


def test_a_backbone_starts_from_the_weights_of_a_run(trained_run: Path, tmp_path: Path) -> None:
    options = [*SMALL[1:], "logger=csv", "rf=none", "finetune=none", "do=[fit]"]
    execute(composed(tmp_path, *options, f"backbone.weights={trained_run}"), tmp_path)
    start, end = (weights(f / "checkpoints" / "best.ckpt") for f in (trained_run, tmp_path))
    trunk = [key for key in start if key.startswith("network.backbone.")]
    assert all(torch.equal(start[key], end[key]) for key in trunk)
    assert not torch.equal(start["network.decoder.out.weight"], end["network.decoder.out.weight"])


def test_a_network_that_is_not_trained_is_named_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = composed(tmp_path, *SMALL, "logger=csv", "rf=none", "do=[test]")
    assert config.name == "resnet18-untrained-s0"
    execute(config, tmp_path)
    assert "the network is not trained; set ckpt=FILE" in caplog.text
    assert json.loads((tmp_path / "scores.json").read_text())["trained_on"] == "nothing"


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
@pytest.mark.filterwarnings("ignore:.*multiple `ModelCheckpoint` callbacks")
def test_a_copied_run_that_is_resumed_does_not_touch_the_original(
    trained_run: Path, tmp_path: Path
) -> None:
    original, copy = tmp_path / "original", tmp_path / "copy"
    execute(composed(original, *OPTIONS), original)
    for name in ("done", "scores.csv", "checkpoints/last.ckpt"):
        (original / name).unlink()
    shutil.copytree(original, copy)
    before = {file: file.read_bytes() for file in original.rglob("*") if file.is_file()}
    assert resume(copy) == 0
    assert {file: file.read_bytes() for file in original.rglob("*") if file.is_file()} == before
    for name in ("scores.csv", "metrics.csv"):
        assert (copy / name).read_text() == (trained_run / name).read_text()
