from pathlib import Path
from typing import Any

import pytest

from deepsal.runs import run_list
from deepsal.runs.run_records import RunRecord
from tests.runs.support import write_small_run


def names(records: list[RunRecord]) -> list[str]:
    return [record.folder.name for record in records]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    conv4: dict[str, Any] = {"finetune": {"name": "conv4", "lr_scale": 0.1}}
    write_small_run(tmp_path / "a", nss=2.0, hour=3, **conv4)
    write_small_run(tmp_path / "b", nss=3.0, hour=2, seed=1, **conv4)
    write_small_run(tmp_path / "sweep" / "c", "failed: ValueError: no", hour=1, val=4.0)
    write_small_run(tmp_path / "sweep" / "d", "alive", hour=4, val=1.0)
    write_small_run(tmp_path / "sweep" / "e", "running", hour=5)
    write_small_run(tmp_path / "f", "preempted", hour=6)
    return tmp_path


def test_runs_are_listed_from_the_oldest_and_each_once(root: Path) -> None:
    assert names(run_list.list_runs([root, root / "sweep"])) == ["c", "b", "a", "d", "e", "f"]
    assert names(run_list.list_runs([root / "a"])) == ["a"]
    with pytest.raises(FileNotFoundError, match="gone is no folder"):
        run_list.list_runs([root / "gone"])


def test_an_unreadable_run_is_a_warning(root: Path) -> None:
    (root / "a" / "config.yaml").write_bytes(b"{: [\xff")
    with pytest.warns(UserWarning, match=r"a is unreadable and left out"):
        assert "a" not in names(run_list.list_runs([root]))


@pytest.mark.parametrize(
    ("conditions", "chosen"),
    [
        ("", "cbadef"),
        ("data=osie", "cbadef"),
        ("seed=1", "b"),
        ("seed=[0,1],finetune=conv4", "ba"),
        ("finetune.lr_scale=1e-1", "ba"),
        ("finetune=null", "cdef"),
        ("state=running", "d"),
        ("state=[failed,interrupted],backbone=vgg16", "ce"),
        ("backbone=resnet18", ""),
    ],
)
def test_runs_are_chosen_by_their_options(conditions: str, chosen: str, root: Path) -> None:
    records = run_list.list_runs([root])
    assert names(run_list.chosen_runs(records, conditions)) == [*chosen]


def test_the_data_set_of_a_condition_is_the_one_that_the_list_states(root: Path) -> None:
    write_small_run(root / "g", hour=7, data={"name": "popout"}, tested={"name": "osie"})
    write_small_run(root / "h", hour=8, data={"name": "popout"})
    records = run_list.list_runs([root])
    for data in ("osie", "popout"):
        stated = [record for record in records if record.data == data]
        assert run_list.chosen_runs(records, f"data={data}") == stated
    assert names(run_list.chosen_runs(records, "data=osie"))[-1] == "g"
    assert names(run_list.chosen_runs(records, "data.name=popout")) == ["g", "h"]


def test_a_condition_that_no_run_can_meet_is_an_error(root: Path) -> None:
    records = run_list.list_runs([root])
    message = r"--where finetun=all: no run has the option finetun; the nearest: finetune"
    with pytest.raises(ValueError, match=message):
        run_list.chosen_runs(records, "seed=1,finetun=all")
    with pytest.raises(ValueError, match="--where osie: set OPTION=VALUE"):
        run_list.chosen_runs(records, "osie")
    assert run_list.chosen_runs([], "a=b") == []


def test_tested_runs_come_first_and_those_without_the_score_last(root: Path) -> None:
    records = run_list.list_runs([root])
    assert names(run_list.sorted_by_score(records, "nss"))[:4] == ["b", "a", "c", "d"]
    assert names(run_list.sorted_by_score(records, "kl"))[0] == "c"
    with pytest.raises(ValueError, match="no score 'bleu'"):
        run_list.sorted_by_score(records, "bleu")


def test_the_best_run_is_a_finished_training(root: Path) -> None:
    assert run_list.best_run(run_list.list_runs([root]), "nss").folder == root / "b"
    (root / "b" / "checkpoints" / "best.ckpt").unlink()
    assert run_list.best_run(run_list.list_runs([root]), "nss").folder == root / "a"
    with pytest.raises(ValueError, match="none of 3 runs is a finished training with the"):
        run_list.best_run(run_list.list_runs([root / "sweep"]), "nss")


def test_a_smoke_run_is_the_best_only_if_a_condition_names_its_trainer(root: Path) -> None:
    write_small_run(root / "s", nss=9.0, trainer={"name": "smoke"})
    records = run_list.list_runs([root])
    assert run_list.best_run(records, "nss", "seed=[0,1]").folder == root / "b"
    for where in ("seed=0,trainer=smoke", "trainer=[standard,smoke]", "trainer.name=smoke"):
        chosen = run_list.chosen_runs(records, where)
        assert run_list.best_run(chosen, "nss", where).folder == root / "s"
    with pytest.raises(
        ValueError, match=r"none of 1 runs .* set --where trainer=smoke for runs of"
    ):
        run_list.best_run([each for each in records if each.folder.name == "s"], "nss")


def test_scores_on_different_data_sets_are_not_compared(root: Path) -> None:
    write_small_run(root / "g", nss=1.0, tested_on="NUS", data={"name": "nus_scene"})
    records = run_list.list_runs([root])
    with pytest.raises(ValueError, match="scores on NUS and OSIE cannot be compared; choose one"):
        run_list.best_run(records, "nss")
    chosen = run_list.chosen_runs(records, "data=nus_scene")
    assert run_list.best_run(chosen, "nss").folder == root / "g"


def test_only_options_that_differ_are_stated_and_a_group_by_its_choice(tmp_path: Path) -> None:
    other: dict[str, Any] = {
        "backbone": {"name": "resnet18", "weights": "B"},
        "data_dir": "/elsewhere",
    }
    write_small_run(tmp_path / "a")
    write_small_run(tmp_path / "b", seed=1, **other)
    records = run_list.list_runs([tmp_path])
    assert run_list.differing_options(records) == [
        {"seed": 0, "backbone": "vgg16"},
        {"seed": 1, "backbone": "resnet18"},
    ]
    write_small_run(tmp_path / "c", backbone={"name": "vgg16", "weights": None})
    weights = [
        each.get("backbone.weights")
        for each in run_list.differing_options(run_list.list_runs([tmp_path]))
    ]
    assert weights == ["A", "B", None]
    assert run_list.differing_options(records[:1]) == [{}]


def test_the_data_set_of_a_training_has_another_name_than_that_of_its_test(tmp_path: Path) -> None:
    write_small_run(tmp_path / "a", data={"name": "popout"}, tested={"name": "osie"})
    write_small_run(tmp_path / "b", data={"name": "toronto"}, hour=2)
    options = run_list.differing_options(run_list.list_runs([tmp_path]))
    assert options == [{"data.name": "popout", "tested": "osie"}, {"data": "toronto"}]


def test_only_ended_runs_without_results_are_removed(root: Path) -> None:
    write_small_run(root / "h", "failed: OSError: no")
    write_small_run(root / "h" / "test", nss=1.0)
    write_small_run(root / "i", "failed: OSError: no")
    write_small_run(root / "i" / "again", "running")
    removable = run_list.removable_runs(run_list.list_runs([root]))
    assert sorted(names(removable)) == ["again", "c", "e", "i"]
    removed = run_list.remove_runs(removable)
    assert len(removed) == 4
    assert sorted(path.name for path in root.iterdir()) == ["a", "b", "f", "h", "sweep"]
    assert [path.name for path in (root / "sweep").iterdir()] == ["d"]


def test_a_run_that_was_resumed_meanwhile_is_not_removed(root: Path) -> None:
    removable = run_list.removable_runs(run_list.list_runs([root]))
    (root / "sweep" / "c" / "status").write_text("done\n")
    (root / "sweep" / "e" / "worker.json").write_bytes(
        (root / "sweep" / "d" / "worker.json")
        .read_bytes()
        .replace(
            str((root / "sweep" / "d").stat().st_ino).encode(),
            str((root / "sweep" / "e").stat().st_ino).encode(),
        )
    )
    assert run_list.remove_runs(removable) == []
    assert (root / "sweep" / "c").is_dir()
    assert (root / "sweep" / "e").is_dir()


def test_the_size_of_a_folder_is_that_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_bytes(b"x" * 300)
    (tmp_path / "link").symlink_to("/usr")
    assert run_list.folder_bytes(tmp_path) == 300
