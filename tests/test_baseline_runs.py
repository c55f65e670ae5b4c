"""Baselines and exports through run.py."""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from hydra import initialize_config_dir
from PIL import Image

from deepsal.callbacks import show_predictions
from deepsal.data import popout_dataset, write_csv_folder
from deepsal.models import StoredMaps
from deepsal.runs.score_files import read_scores
from deepsal.training.task import SaliencyTask
from tests.data.fakes import FAKES
from tests.support import ROOT, SMALL, built, composed, execute

TINY = [*SMALL, "logger=csv", "rf=none", "trainer.accelerator=cpu"]
SCORES = ("nss", "cc", "kl", "sim", "auc")


@pytest.fixture(autouse=True)
def hydra_from_here() -> Iterator[None]:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        yield


@pytest.mark.parametrize("network", ["uniform", "centre", "itti", "gbvs"])
def test_a_baseline_is_scored_through_the_same_door(network: str, tmp_path: Path) -> None:
    config = composed(tmp_path, *TINY, "rf=standard", f"network={network}", "do=[test]")
    assert config.name == network
    execute(config, tmp_path)
    table = pd.read_csv(tmp_path / "scores.csv")
    assert len(table) == 2
    for row, other in (("uniform", "chance"), ("centre", "centre")):
        if network == row:
            assert (table["nss"] == table[f"{other}_nss"]).all()
            assert (table["kl"] == table[f"{other}_kl"]).all()
    assert table[list(SCORES)].notna().all(axis=None)
    assert not list(tmp_path.glob("fields/*"))


@pytest.mark.parametrize("verb", ["fit", "claims", "v1"])
def test_a_baseline_can_only_be_tested(verb: str, tmp_path: Path) -> None:
    chosen = ["data_dir=/missing", "logger=csv", "network=centre", f"do=[test,{verb}]"]
    with pytest.raises(ValueError, match=rf"=centre is .*do=\[{verb}\]; set do=\[test\]$"):
        execute(composed(tmp_path, *chosen), tmp_path)


def test_the_ceiling_needs_people_and_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"and no test image of pop-out .* has two; "):
        execute(composed(tmp_path, *TINY, "network=human", "do=[test]"), tmp_path)


@pytest.mark.parametrize(
    ("network", "chosen"),
    [
        ("human", {"bandwidth", "centre_weight", "images", "centre"}),
        (
            "human_mixture",
            {"bandwidths", "concentration", "images", "prior_weights", "mean_weights"}
            | {"image_weights", "centre"},
        ),
    ],
)
def test_the_parameters_of_a_ceiling_are_in_its_scores(
    network: str, chosen: set[str], tmp_path: Path
) -> None:
    arrays = popout_dataset((5, 2, 2), size=(64, 64))
    people = [replace(s, observers=np.arange(len(s.fixations)) % 4) for s in arrays.stimuli]
    write_csv_folder(replace(arrays, stimuli=people), tmp_path / "mine")
    few = [option for option in TINY if not option.startswith(("data=", "data.dataset"))]
    few += ["data=folder", f"data.dataset.path={tmp_path / 'mine'}", "data.dataset.sigma=3.0"]
    config = composed(tmp_path / "run", *few, f"network={network}", "do=[test]")
    assert config.name == network
    execute(config, tmp_path / "run")
    summary = read_scores(tmp_path / "run")
    assert summary["settings"]["run"].keys() == chosen
    assert summary["settings"]["run"]["images"] == "5 training images"
    assert summary["settings"]["run"]["centre"] == summary["settings"]["centre"]
    table = pd.read_csv(tmp_path / "run" / "scores.csv")
    assert (table["nss"] > table["centre_nss"]).all()
    if network == "human_mixture":
        weights = pd.DataFrame(summary["settings"]["run"]["image_weights"]).T
        assert [*weights.index] == [*table["name"]]
        mean = summary["settings"]["run"]["mean_weights"]
        assert weights.mean().to_numpy() == pytest.approx([*mean.values()], abs=1e-3)


def test_exported_predictions_score_as_the_network_that_made_them(tmp_path: Path) -> None:
    made, scored = tmp_path / "made", tmp_path / "scored"
    execute(composed(made, *TINY, "do=[test,export]"), made)
    maps = ["network=maps", f"network.path={made / 'predictions.hdf5'}", "do=[test]"]
    execute(composed(scored, *TINY, *maps), scored)
    first, second = (pd.read_csv(folder / "scores.csv") for folder in (made, scored))
    assert first["name"].equals(second["name"])
    for score in SCORES:
        assert first[score].to_numpy() == pytest.approx(second[score].to_numpy(), abs=1e-4)


def test_maps_of_the_images_own_shape_are_scored_and_drawn(tmp_path: Path) -> None:
    tall = [*TINY, "data.dataset.size=[90,60]", "network=maps", "do=[test]"]
    config = composed(tmp_path, *tall, f"network.path={tmp_path / 'maps'}")
    (tmp_path / "maps").mkdir()
    for sample in built(tmp_path, *TINY, "data.dataset.size=[90,60]")["data"].images["test"]:
        density = (255 * sample.density / sample.density.max()).byte().numpy()
        Image.fromarray(density).save(tmp_path / "maps" / f"{sample.name}.png")
    execute(config, tmp_path)
    assert len(pd.read_csv(tmp_path / "scores.csv")) == 2
    with np.load(tmp_path / "gallery.npz") as file:
        assert file["prediction/1"].shape == file["image/1"].shape[:2] == (90, 60)


def test_maps_of_a_part_of_the_images_are_scored_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "maps").mkdir()
    maps = [*TINY, "network=maps", f"network.path={tmp_path / 'maps'}", "do=[test]"]
    name = built(tmp_path, *TINY)["data"].images["test"][1].name
    run = tmp_path / "run"
    with pytest.raises(FileNotFoundError, match="has no map for any of 2 test images of pop-out"):
        execute(composed(run, *maps, "network.missing=skip"), run)
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(tmp_path / f"maps/{name}.png")
    with pytest.raises(FileNotFoundError, match=r"set network\.missing=skip"):
        execute(composed(run, *maps), run)
    execute(composed(run, *maps, "network.missing=skip"), run)
    assert pd.read_csv(run / "scores.csv")["name"].tolist() == [name]
    assert (read_scores(run)["images"], read_scores(run)["left_out"]) == (1, 1)
    assert "1 of 2 test images have no map and are left out" in capsys.readouterr().out


@pytest.mark.parametrize("scores", ["[nss,cc]", "[cc]"])
def test_scores_are_written_before_what_may_fail_after_them(
    scores: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(show_predictions, "write_gallery", lambda *_: 1 / 0)
    config = composed(tmp_path, *TINY, "network=centre", "do=[test]", f"score.names={scores}")
    warning = pytest.warns(UserWarning, match=r"no gallery\.npz: ZeroDivisionError")
    with warning if "nss" in scores else nullcontext():
        execute(config, tmp_path)
    assert list(pd.read_csv(tmp_path / "scores.csv"))[:2] == ["name", scores[1:-1].split(",")[0]]
    assert (tmp_path / "done").is_file()


def test_the_network_of_a_checkpoint_is_what_is_exported(tmp_path: Path) -> None:
    torch.manual_seed(5)
    objects = built(tmp_path, *TINY)
    task, data = objects["task"], objects["data"]
    assert isinstance(task, SaliencyTask)
    torch.save({"state_dict": task.state_dict()}, tmp_path / "other.ckpt")
    chosen = [*TINY, "export=salicon", "do=[export]", f"ckpt={tmp_path / 'other.ckpt'}"]
    execute(composed(tmp_path, *chosen), tmp_path)
    sample = data.images["test"][0]
    expected = task.predictor(None)(sample.image[None], sample.size, [sample.name]).exp()[0]
    maps = StoredMaps(tmp_path / "predictions")
    found = maps(sample.image[None], sample.size, [sample.name]).exp()[0]
    assert np.corrcoef(found.flatten(), expected.flatten())[0, 1] > 0.999
    assert len(list((tmp_path / "predictions").glob("*.png"))) == 3


def test_all_images_of_a_folder_are_scored_over_a_prior_that_is_named(tmp_path: Path) -> None:
    write_csv_folder(popout_dataset((3, 1, 1), size=(40, 60)), tmp_path / "mine")
    given = ["data=folder", f"data.dataset.path={tmp_path / 'mine'}", "data.dataset.sigma=3.0"]
    few = [option for option in TINY if not option.startswith(("data=", "data.dataset"))]
    chosen = [*few, *given, "data.dataset.split=all", "network=centre", "do=[test]"]
    chosen += ["trainer.limit_test_batches=1.0"]
    execute(composed(tmp_path / "run", *chosen), tmp_path / "run")
    assert len(pd.read_csv(tmp_path / "run" / "scores.csv")) == 5
    summary = read_scores(tmp_path / "run")
    assert summary["ig_over"].startswith("centre prior of 5 other test images of mine, bandwidth")
    assert summary["settings"]["run"] == summary["settings"]["centre"]


@pytest.fixture
def benchmarks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three images of MIT300, and of CAT2000's test part two of one name."""
    for name in ("mit300", "cat2000"):
        FAKES[name].install(monkeypatch)
    names = [f"mit300/BenchmarkIMAGES/i{i}.jpg" for i in range(3)]
    names += [f"cat2000/testSet/Stimuli/{category}/001.jpg" for category in ("Action", "Art")]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (48, 36)).save(tmp_path / name)
    return tmp_path


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (["data=mit300"], ["i0.jpg", "i1.jpg", "i2.jpg"]),
        (["data=cat2000", "data.dataset.part=test"], ["Action/001.jpg", "Art/001.jpg"]),
    ],
)
def test_images_without_fixations_are_exported_and_not_tested(
    given: list[str], names: list[str], benchmarks: Path, tmp_path: Path
) -> None:
    few = [option for option in TINY if not option.startswith(("data=", "data.dataset"))]
    few += [*given, f"data_dir={benchmarks}", "+data.dataset.check_counts=false"]
    execute(composed(tmp_path, *few, "do=[export]"), tmp_path)
    with h5py.File(tmp_path / "predictions.hdf5") as file:
        for name in names:
            assert np.exp(file[name][...]).sum() == pytest.approx(1, abs=1e-4)
            assert file[name].shape == (36, 48)
    execute(composed(tmp_path, *few, "do=[export]", "export=salicon"), tmp_path)
    made = tmp_path / "predictions"
    assert sorted(str(f.relative_to(made)) for f in made.rglob("*.png")) == [
        f"{name.removesuffix('.jpg')}.png" for name in names
    ]
    with pytest.raises(ValueError, match=r"cannot be scored here: .*set do=\[export\]"):
        execute(composed(tmp_path, *few, "do=[test]"), tmp_path)
    with pytest.raises(ValueError, match="has no training images"):
        execute(composed(tmp_path, *few, "do=[fit]"), tmp_path)
    with pytest.raises(ValueError, match=r"needs training fixations.*data@tested=NAME"):
        execute(composed(tmp_path / "c", *few, "network=centre", "do=[export]"), tmp_path)
