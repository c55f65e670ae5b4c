import json
from pathlib import Path

import pytest

from deepsal.report import run_folders


def write_run(folder: Path, status: str = "done", metrics: str = "") -> None:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("finetune: {name: conv4}\nbackbone: {name: vgg16}\n")
    (folder / "status").write_text(f"{status}\n")
    (folder / "metrics.csv").write_text(metrics)


def test_runs_are_listed_by_number_with_their_last_fields(tmp_path: Path) -> None:
    table = "epoch,step,rf/conv4/csi\n0,1,0.25\n1,2,0.5\n2,3,\n"
    write_run(tmp_path / "10-later")
    write_run(tmp_path / "9-earlier", "failed: ValueError: no", table)
    (tmp_path / "11-nothing").mkdir()
    earlier, later = run_folders.find_runs(tmp_path)
    assert (earlier.name, later.name) == ("9-earlier", "10-later")
    assert (earlier.status, later.status) == ("failed: ValueError: no", "done")
    assert earlier.fields == {"csi": {"conv4": 0.5}}
    assert later.fields == {}
    assert earlier.page is None


@pytest.mark.parametrize("metrics", [None, ""])
def test_a_run_that_logged_nothing_has_an_empty_table(metrics: str | None, tmp_path: Path) -> None:
    if metrics is not None:
        (tmp_path / "metrics.csv").write_text(metrics)
    assert run_folders.read_metrics_csv(tmp_path).empty


def test_a_test_of_a_checkpoint_has_the_seed_and_the_data_set_of_its_training(
    tmp_path: Path,
) -> None:
    write_run(tmp_path / "run")
    trained = {"checkpoint": "/x/best.ckpt", "name": "a", "seed": 3, "dataset": "OSIE"}
    with (tmp_path / "run" / "config.yaml").open("a") as file:
        file.write(f"seed: 7\nckpt: /x/best.ckpt\ntrained: {json.dumps(trained)}\n")
    options = run_folders.read_run(tmp_path / "run", tmp_path).options
    assert options["seed"] == 3
    assert options["trained.dataset"] == "OSIE"
    assert "/x/best.ckpt" not in options.values()


def test_only_paths_in_its_own_folder_are_no_options_of_a_run(tmp_path: Path) -> None:
    write_run(tmp_path / "0")
    path = "/before/the/move/0"
    options = f"output_dir: {path}\nlog: {path}/log\nseed: 0\nlr: 0.03\nother: {path}0\nempty: null"
    with (tmp_path / "0" / "config.yaml").open("a") as file:
        file.write(options)
    (run,) = run_folders.find_runs(tmp_path)
    kept = {"finetune.name", "backbone.name", "seed", "lr", "other", "empty"}
    assert set(run.options) == kept


@pytest.mark.parametrize("file", ["config.yaml", "metrics.csv", "scores.json", "origin.json"])
def test_an_unreadable_run_among_others_is_a_warning(file: str, tmp_path: Path) -> None:
    for name in ("0", "1"):
        write_run(tmp_path / name)
    (tmp_path / "0" / file).write_bytes(b"{: [\xff")
    with pytest.warns(UserWarning, match=r"0 is unreadable and left out"):
        (run,) = run_folders.find_runs(tmp_path)
    assert run.name == "1"


def test_scores_of_a_control_training_stay_apart_from_those_of_the_backbone(tmp_path: Path) -> None:
    control = "control: shuffled_fixations\ndata: {control: shuffled_fixations}\n"
    for name, options, nss in (("run", "control: null\n", 2.0), ("control", control, 0.5)):
        write_run(tmp_path / name)
        with (tmp_path / name / "config.yaml").open("a") as file:
            file.write(options)
        means = {"nss": {"mean": nss, "low": nss - 0.1, "high": nss + 0.1, "count": 9}}
        (tmp_path / name / "scores.json").write_text(json.dumps({"scores": {"run": means}}))
    runs = run_folders.find_runs(tmp_path)
    assert [run.backbone for run in runs] == ["vgg16-shuffled_fixations", "vgg16"]
    assert run_folders.mean_score(runs, "vgg16", "conv4", "nss")[0] == 2.0
    assert run_folders.mean_score(runs, runs[0].backbone, "conv4", "nss")[0] == 0.5
    assert "data.control" not in runs[0].options  # it repeats `control`
