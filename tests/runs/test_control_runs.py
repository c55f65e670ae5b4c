from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from deepsal.runs.control_runs import (
    TUNED,
    FinishedTraining,
    group_by_control,
    load_trainings,
    training_conditions,
)
from tests.conftest import backbone

CONFIG = {
    "backbone": {"name": "toy", "weights": None},
    "data": {"name": "osie"},
    "finetune": {"depth": "all"},
    "seed": 0,
    "control": None,
}
RUN = training_conditions(CONFIG)


def training(folder: Path, **changed: Any) -> Path:
    """Write the folder of a finished training."""
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump({**CONFIG, **changed}))
    state = {f"network.backbone.{key}": v for key, v in backbone().state_dict().items()}
    torch.save({"state_dict": state}, folder / "checkpoints" / "best.ckpt")
    return folder


def own(seed: int = 0) -> FinishedTraining:
    return FinishedTraining(Path("own"), TUNED, seed, backbone())


def test_trainings_are_grouped_by_control_in_the_order_of_the_seeds(tmp_path: Path) -> None:
    folders = [
        training(tmp_path / "a", seed=1),
        training(tmp_path / "b", seed=1, control="shuffled_fixations"),
        training(tmp_path / "c", control="shuffled_fixations"),
    ]
    groups = group_by_control(load_trainings(folders, backbone(), RUN), own())
    seeds = {control: [t.seed for t in group] for control, group in groups.items()}
    assert seeds == {TUNED: [0, 1], "shuffled_fixations": [0, 1]}
    assert groups["shuffled_fixations"][0].folder == tmp_path / "c"
    assert not groups[TUNED][1].backbone.training


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"backbone": {"name": "vgg16", "weights": None}}, "with backbone=vgg16, .* backbone=toy"),
        ({"data": {"name": "salicon"}}, "with data=salicon, .* data=osie"),
        ({"finetune": {"depth": "conv4"}}, "with depth=conv4, .* depth=all"),
    ],
)
def test_a_training_of_another_kind_is_refused_by_name(
    changed: dict[str, Any], message: str, tmp_path: Path
) -> None:
    folder = training(tmp_path / "other", **changed)
    with pytest.raises(ValueError, match=rf"claims.controls: {folder} was trained {message}"):
        load_trainings([folder], backbone(), RUN)


def test_the_folder_of_a_sweep_stands_for_its_trainings_under_the_same_conditions(
    tmp_path: Path,
) -> None:
    training(tmp_path / "judged")
    training(tmp_path / "other-seed", seed=1)
    training(tmp_path / "shuffled", control="shuffled_fixations")
    training(tmp_path / "shallow", finetune={"depth": "conv5"})
    (tmp_path / "unfinished").mkdir()
    found = load_trainings([tmp_path], backbone(), RUN)
    assert [t.folder.name for t in found] == ["other-seed", "shuffled"]
    with pytest.raises(ValueError, match=rf"{tmp_path} has no other training with backbone=vgg16"):
        load_trainings([tmp_path], backbone(), {**RUN, "backbone": "vgg16"})


def test_a_folder_without_a_finished_training_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=rf"{tmp_path} has no config.yaml"):
        load_trainings([tmp_path], backbone(), RUN)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    with pytest.raises(FileNotFoundError, match=r"has no checkpoints/best\.ckpt"):
        load_trainings([tmp_path], backbone(), RUN)


@pytest.mark.parametrize(
    ("trainings", "message"),
    [
        ([(TUNED, 1), ("other_task", 0)], "other_task has no training with seed=1; add the folder"),
        ([("other_task", 0), ("other_task", 2)], r"other_task has seed=2, .* have \[0\]"),
        ([(TUNED, 0)], "are both tuned with seed=0"),
    ],
)
def test_seeds_that_do_not_pair_are_named(trainings: list[tuple[str, int]], message: str) -> None:
    network = backbone()
    given = [FinishedTraining(Path(c), c, seed, deepcopy(network)) for c, seed in trainings]
    with pytest.raises(ValueError, match=message):
        group_by_control(given, own())
