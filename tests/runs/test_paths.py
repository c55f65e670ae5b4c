from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra.types import RunMode

from deepsal.runs import paths
from tests.runs.support import write_small_run


def test_no_path_depends_on_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.pt").touch()
    (tmp_path / "kl").mkdir()  # a folder that is named like a loss is no path
    relative = {
        "data_dir": "data",
        "data": {"dataset": {"path": "set"}, "cache_dir": "~/cache"},
        "backbone": {"name": "kl", "weights": "w.pt"},
        "other": {"weights": "IMAGENET1K_V1"},
        "network": {"path": "maps"},
        "export": {"images": "photos"},
        "claims": {"controls": ["a", "b"]},
        "loss": {"name": "kl"},
        "images": [8, 4, 4],
    }
    assert paths.absolute_paths(relative) == {
        "data_dir": f"{tmp_path}/data",
        "data": {"dataset": {"path": f"{tmp_path}/set"}, "cache_dir": "~/cache"},
        "backbone": {"name": "kl", "weights": f"{tmp_path}/w.pt"},
        "other": {"weights": "IMAGENET1K_V1"},
        "network": {"path": f"{tmp_path}/maps"},
        "export": {"images": f"{tmp_path}/photos"},
        "claims": {"controls": [f"{tmp_path}/a", f"{tmp_path}/b"]},
        "loss": {"name": "kl"},
        "images": [8, 4, 4],
    }


def test_a_run_folder_stands_for_its_best_checkpoint(tmp_path: Path) -> None:
    run = {"ckpt": str(tmp_path), "backbone": {"weights": str(tmp_path)}}
    with pytest.raises(FileNotFoundError, match=r"no checkpoints/best\.ckpt; set ckpt=FILE"):
        paths.absolute_paths(run)
    (tmp_path / "checkpoints").mkdir()
    (best := tmp_path / "checkpoints" / "best.ckpt").touch()
    assert paths.absolute_paths(run) == {"ckpt": str(best), "backbone": {"weights": str(best)}}


def test_a_checkpoint_may_be_a_part_of_a_runs_name_and_weights_may_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a-lite0-s0", "b-lite0-s1"):
        write_small_run(Path("runs") / name)
    best = tmp_path / "runs" / "b-lite0-s1" / "checkpoints" / "best.ckpt"
    assert paths.absolute_path("ckpt", "lite0-s1") == str(best)
    assert paths.absolute_path("backbone.weights", "lite0-s1") == "lite0-s1"
    with pytest.raises(ValueError, match="ckpt=lite0 is part of the names of 2 runs"):
        paths.absolute_path("ckpt", "lite0")
    with pytest.raises(FileNotFoundError, match=r"ckpt=lite1 does not exist, .* nearest: runs/"):
        paths.absolute_path("ckpt", "lite1")


def test_runs_that_begin_in_one_second_have_folders_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(tmp_path / "runs" / "10-00-00-vgg16")
    folders = [paths.unused_folder("RUN", RunMode.RUN, folder) for _ in range(3)]
    assert folders == [folder, f"{folder}-2", f"{folder}-3"]
    assert all(Path(each).is_dir() for each in folders)
    monkeypatch.setenv("RANK", "1")
    shared = paths.unused_folder("RUN", RunMode.RUN, folder)
    assert shared == folder, "other ranks share the folder of the first"


@pytest.mark.parametrize("mode", [None, RunMode.RUN])
def test_a_folder_that_is_not_used_is_not_made(mode: RunMode | None, tmp_path: Path) -> None:
    folder = str(tmp_path / "runs" / "sweep")
    assert paths.unused_folder("MULTIRUN", mode, folder) == folder
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("name", ["file", "file/a", "x" * 300])
def test_a_folder_that_cannot_be_made_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    message = rf"Error: the folder {tmp_path}.* cannot be made .*; set hydra.run.dir=FOLDER$"
    with pytest.raises(SystemExit, match=message):
        paths.refuse_impossible_folder(["run.py", f"hydra.run.dir={tmp_path}/{name}"])
    paths.refuse_impossible_folder(["run.py", f"hydra.sweep.dir={tmp_path}/a/b", "seed=1"])
    assert not (tmp_path / "a").exists(), "the command line may be --cfg"
    if name != "file":
        with pytest.raises(SystemExit, match=message):
            paths.unused_folder("RUN", RunMode.RUN, f"{tmp_path}/{name}")
        with pytest.raises(SystemExit, match=r"set hydra\.sweep\.dir=FOLDER$"):
            paths.unused_folder("MULTIRUN", RunMode.MULTIRUN, f"{tmp_path}/{name}")


def test_the_name_of_a_folder_is_short_and_leads_nowhere_else() -> None:
    name = "../hub/" + "x" * 300
    assert paths.folder_name(_root_=SimpleNamespace(name=name)).startswith(".._hub_xx")
    assert len(paths.folder_name(_root_=SimpleNamespace(name=name))) < 200


def test_only_whole_names_of_folders_move_and_the_inner_folder_first() -> None:
    config = {
        "a": "/runs/1",
        "b": "/runs/1/x",
        "c": "/runs/10",
        "d": ["/runs/2"],
        "e": "in /runs/1",
    }
    assert paths.moved_paths(config, {"/runs": "/r", "/runs/1": "/one"}) == {
        "a": "/one",
        "b": "/one/x",
        "c": "/r/10",
        "d": ["/r/2"],
        "e": "in /runs/1",
    }


def test_configurations_of_two_machines_differ_in_their_options_only() -> None:
    def text(home: str, **options: object) -> str:
        data = {"cache_dir": f"{home}/cache", "dataset": {"data_dir": f"{home}/data/osie"}}
        run = {"output_dir": f"{home}/runs/0-a", "trainer": {"root": f"{home}/runs/0-a"}}
        return paths.as_text({**run, "data_dir": f"{home}/data", "data": data, **options})

    assert paths.differing_keys(text("/cluster"), text("/home/me")) == []
    assert paths.differing_keys(text("/a", seed=0), text("/b", seed=1, lr=0.1)) == ["seed", "lr"]
    assert paths.differing_keys("seed: [1", text("/b")) == ["config.yaml is damaged"]
