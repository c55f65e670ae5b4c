import json
import math
from pathlib import Path

import pytest

from deepsal.runs.run_records import (
    RunScore,
    describes_run,
    named_options,
    read_run_record,
    read_state,
    read_validation_scores,
    score_direction,
)
from tests.runs.support import write_small_run


@pytest.mark.parametrize(
    ("status", "state", "reason"),
    [
        ("alive", "running", ""),
        ("running", "interrupted", ""),
        ("interrupted", "interrupted", ""),
        ("preempted", "preempted", ""),
        ("done", "done", ""),
        ("failed: ValueError: a: b", "failed", "ValueError: a: b"),
    ],
)
def test_the_state_of_a_run_follows_from_its_status_and_its_heartbeat(
    status: str, state: str, reason: str, tmp_path: Path
) -> None:
    assert read_state(write_small_run(tmp_path / "run", status)) == (state, reason)


def test_a_run_that_was_killed_after_its_end_is_done(tmp_path: Path) -> None:
    folder = write_small_run(tmp_path / "run")
    (folder / "status").write_text("running\n")
    assert read_state(folder) == ("done", "")


def test_a_record_has_the_test_before_the_validation(tmp_path: Path) -> None:
    record = read_run_record(write_small_run(tmp_path / "run", nss=2.5, val=3.0, hour=2))
    assert record.scores["nss"] == RunScore(2.5, 2.4, 2.6, "test")
    assert (record.scores["kl"].mean, record.scores["kl"].split) == (0.25, "val")
    assert math.isnan(record.scores["kl"].low)
    assert [*record.scores] == ["nss", "kl"]
    assert (record.data, record.tested, record.has_checkpoint) == ("osie", "OSIE", True)
    assert record.started == 1795658400
    assert record.options["backbone.name"] == "vgg16"
    assert "rf.folder" not in record.options


def test_the_options_of_a_step_describe_only_a_run_with_the_step() -> None:
    options = {"claims.pairs": 8, "v1.short": True, "data.size": [64, 64]}
    for steps, expected in ((["fit"], ["data.size"]), (["v1"], ["v1.short", "data.size"])):
        known = {"do": steps, **options}
        assert [key for key in options if describes_run(key, options[key], known)] == expected


def test_a_test_of_a_checkpoint_has_its_checkpoint_and_the_seed_of_the_training(
    tmp_path: Path,
) -> None:
    trained = {"seed": 3, "dataset": "OSIE"}
    record = read_run_record(write_small_run(tmp_path / "run", ckpt="/a.ckpt", trained=trained))
    assert (record.options["ckpt"], record.options["seed"]) == ("/a.ckpt", 3)


def test_a_baseline_has_no_options_of_a_trained_network(tmp_path: Path) -> None:
    for name, network in (("human", {}), ("saliency", {"backbone": {"name": "vgg16"}})):
        folder = write_small_run(tmp_path / name, network={"name": name, **network})
        assert ("backbone.name" in read_run_record(folder).options) == (name == "saliency")


def test_an_option_inside_a_named_option_is_named() -> None:
    options = ["seed", "data.name", "data.size", "tested.name", "finetune.lr_scale.conv5"]
    overrides = ["data@tested=osie", "+finetune.lr_scale={conv5: 0.1}", "data=popout"]
    named = ["data.name", "finetune.lr_scale.conv5", "tested.name"]
    assert sorted(named_options(options, overrides)) == named


def test_the_best_epoch_follows_from_the_metric_of_the_run(tmp_path: Path) -> None:
    folder = write_small_run(tmp_path / "run", "running", val=3.0)
    by_nss, by_kl = (read_validation_scores(folder, f"val/{name}") for name in ("nss", "kl"))
    assert (by_nss["nss"].mean, by_nss["kl"].mean) == (3.0, 0.25)
    assert (by_kl["nss"].mean, by_kl["kl"].mean) == (2.5, 0.1)
    assert read_validation_scores(folder, "val/bleu") == {}
    assert read_validation_scores(tmp_path, "val/nss") == {}


def test_the_data_set_of_a_test_is_the_one_that_was_chosen_for_it(tmp_path: Path) -> None:
    folder = write_small_run(tmp_path / "run", tested={"name": "nus_scene"})
    assert read_run_record(folder).data == "nus_scene"


def test_a_run_that_failed_before_it_had_a_configuration_is_a_run(tmp_path: Path) -> None:
    (tmp_path / "status").write_text("failed: OSError: no space\n")
    record = read_run_record(tmp_path)
    assert (record.state, record.reason, record.scores) == ("failed", "OSError: no space", {})


def test_a_damaged_file_is_an_error(tmp_path: Path) -> None:
    folder = write_small_run(tmp_path / "run")
    (folder / "scores.json").write_text("{")
    with pytest.raises(json.JSONDecodeError):
        read_run_record(folder)


def test_an_unknown_score_lists_the_scores() -> None:
    assert (score_direction("nss"), score_direction("search")) == ("max", "min")
    with pytest.raises(ValueError, match="no score 'bleu'; the scores are nss, ig, cc"):
        score_direction("bleu")
