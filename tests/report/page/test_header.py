import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from deepsal.report.page.header import read_header
from deepsal.runs.run_records import read_options, run_duration

CONFIG = """
name: a-run
seed: 3
do: [fit, test]
backbone: {name: vgg16, weights: IMAGENET1K_V1}
finetune: {name: conv4}
data: {name: osie, size: [192, 256]}
trainer: {max_epochs: 6}
"""


def test_a_header_has_the_facts_of_its_run(tmp_path: Path) -> None:
    start = datetime.now(UTC) - timedelta(seconds=754)
    about = {"commit": "0123456789abcdef", "dirty": True, "processor": "a CPU", "cores": 2}
    about |= {"gpus": ["a GPU"], "python": "3.12", "command": ["run.py", "seed=3"]}
    about |= {"started": start.isoformat(timespec="seconds")}
    (tmp_path / "origin.json").write_text(json.dumps(about))
    (tmp_path / "config.yaml").write_text(CONFIG)
    (tmp_path / "status").write_text("done\n")
    os.utime(tmp_path / "status", (start.timestamp() + 754,) * 2)
    header = read_header(tmp_path)
    assert (header.name, header.status) == ("a-run", "done")
    facts = dict(header.facts)
    assert facts["backbone"] == "vgg16 (IMAGENET1K_V1)"
    assert facts["depth"] == "conv4"
    assert facts["image size"] == "192 × 256 px"
    assert facts["commit"] == "0123456789ab + changes"
    assert facts["hardware"] == "a GPU, a CPU, 2 cores"
    assert facts["duration"].startswith("12 min")
    assert facts["command"] == "run.py seed=3"
    assert "decoder" not in facts
    assert "max_epochs: 6" in header.options


def test_a_header_of_a_test_describes_the_checkpoint(tmp_path: Path) -> None:
    trained = {"checkpoint": "/x/best.ckpt", "seed": 3, "epochs": 9, "dataset": "OSIE"}
    trained |= {"commit": "0123456789abcdef", "start": "/y/best.ckpt"}
    config = CONFIG.replace("seed: 3", "seed: 7").replace("[fit, test]", "[test]")
    tested = "ckpt: /x/best.ckpt\ntested: {name: nus_scene}\n"
    (tmp_path / "config.yaml").write_text(f"{config}{tested}trained: {json.dumps(trained)}\n")
    facts = dict(read_header(tmp_path).facts)
    assert (facts["seed"], facts["epochs"]) == ("3", "9")
    assert (facts["trained on"], facts["tested on"]) == ("OSIE", "nus_scene")
    assert (facts["checkpoint"], facts["started from"]) == ("/x/best.ckpt", "/y/best.ckpt")
    assert facts["trained with commit"] == "0123456789ab"


def test_a_header_of_a_training_states_the_checkpoint_it_started_from(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(f"{CONFIG}ckpt: /y/best.ckpt\n")
    facts = dict(read_header(tmp_path).facts)
    assert facts["started from"] == "/y/best.ckpt"
    assert "checkpoint" not in facts


def test_a_folder_without_a_description_has_its_name_only(tmp_path: Path) -> None:
    header = read_header(tmp_path)
    assert (header.name, header.status, header.options) == (tmp_path.name, "unknown", "")
    assert read_options(tmp_path) == {}
    assert run_duration(tmp_path) is None


def test_a_run_that_was_killed_is_interrupted_and_lasted_until_its_last_heartbeat(
    tmp_path: Path,
) -> None:
    start = datetime.now(UTC) - timedelta(seconds=100)
    (tmp_path / "origin.json").write_text(json.dumps({"started": start.isoformat()}))
    (tmp_path / "config.yaml").write_text(CONFIG)
    for name, text, seconds in (("status", "running\n", 5), ("worker.json", "{}", 40)):
        (tmp_path / name).write_text(text)
        os.utime(tmp_path / name, (start.timestamp() + seconds,) * 2)
    header = read_header(tmp_path)
    assert header.status == "interrupted"
    assert dict(header.facts)["duration"] == "40 s"
