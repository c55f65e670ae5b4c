import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from deepsal.runs import folder as run_folder
from deepsal.runs.resume import resume_point, resume_run
from deepsal.runs.targets import PARTS

EMPTY: dict[str, Any] = {**dict.fromkeys(PARTS), "do": ["fit"], "seed": 0, "ckpt": None, "name": ""}


def run_in(folder: Path, **config: Any) -> Path:
    (folder / "config.yaml").write_text(yaml.safe_dump({**EMPTY, **config}))
    return folder


def test_a_run_without_a_checkpoint_starts_again(tmp_path: Path) -> None:
    (run_in(tmp_path, seed=3) / "fields").mkdir()
    point = resume_point(tmp_path)
    assert point == ({**EMPTY, "seed": 3, "output_dir": str(tmp_path)}, None)
    assert not (tmp_path / "fields").exists()


def test_a_run_that_was_copied_uses_its_own_folder_and_the_data_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, copy = tmp_path / "run", tmp_path / "run-copy"
    original.mkdir()
    places = {"output_dir": str(original), "rf": {"folder": f"{original}/fields"}}
    run_in(original, **places, data_dir="/cluster/data", data={"path": "/cluster/data/osie"})
    (original / "wandb_id").write_text("abc")
    shutil.copytree(original, copy)
    monkeypatch.setenv("DEEPSAL_DATA", str(tmp_path))
    point = resume_point(copy)
    assert point
    assert point.config == {
        **EMPTY,
        "output_dir": str(copy),
        "rf": {"folder": f"{copy}/fields"},
        "data_dir": str(tmp_path),
        "data": {"path": f"{tmp_path}/osie"},
    }
    assert not (copy / "wandb_id").exists()
    assert (original / "wandb_id").read_text() == "abc"


def test_a_run_that_was_moved_keeps_its_dashboard(tmp_path: Path) -> None:
    (run_in(tmp_path, output_dir=str(tmp_path / "gone")) / "wandb_id").write_text("abc")
    assert resume_point(tmp_path) == ({**EMPTY, "output_dir": str(tmp_path)}, None)
    assert (tmp_path / "wandb_id").read_text() == "abc"


def test_a_done_run_is_not_run_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_folder.mark_done(run_in(tmp_path, seed=3), 0.5)
    assert resume_run([f"resume={tmp_path}"], lambda *_: pytest.fail("it ran")) == 0
    assert "is done already" in capsys.readouterr().out


@pytest.mark.parametrize("text", [b"seed: [1, 2", b"", b"\xff\xfe", b"just text"])
def test_a_damaged_configuration_is_a_plain_error_and_removes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: bytes
) -> None:
    (tmp_path / "fields").mkdir()
    (tmp_path / "config.yaml").write_bytes(text)
    assert resume_run([f"resume={tmp_path}"], lambda *_: pytest.fail("it ran")) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "config.yaml is damaged" in line
    assert (tmp_path / "fields").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 1\n", "config.yaml lacks do, ckpt, name, task, data"),
        (yaml.safe_dump({**EMPTY, "seed": -4}), "seed=-4 must be a whole number, 0 or more"),
    ],
)
def test_a_configuration_that_was_edited_is_checked_and_removes_nothing(
    text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "fields").mkdir()
    (tmp_path / "config.yaml").write_text(text)
    assert resume_run([f"resume={tmp_path}"], lambda *_: pytest.fail("it ran")) == 1
    assert message in capsys.readouterr().err
    assert (tmp_path / "fields").exists()


def test_a_run_is_resumed_by_a_part_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs" / "07-22-10-lite0-s3"
    folder.mkdir(parents=True)
    run_in(folder, seed=3)
    folders: list[Path] = []
    assert resume_run(["resume=07-22-lite0"], lambda _, folder, __: folders.append(folder)) == 0
    assert folders == [folder]
    assert resume_run(["resume=vgg"], lambda *_: pytest.fail("it ran")) == 1
    assert "resume=vgg does not exist, and no run below runs" in capsys.readouterr().err


def test_plain_errors_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(config: dict[str, Any], folder: Path, checkpoint: Path | None) -> None:
        raise ValueError("rf.units=99")

    run_in(tmp_path, seed=3)
    assert resume_run([f"resume={tmp_path}"], fail) == 1
    assert resume_run([f"resume={tmp_path}", "seed=1"], fail) == 1
    assert resume_run([f"resume={tmp_path / 'nowhere'}"], fail) == 1
    first, second, third = capsys.readouterr().err.splitlines()
    assert first == "ValueError: rf.units=99"
    assert second.endswith("keeps its configuration; leave out seed=1")
    assert third.endswith("not a run folder (it has no config.yaml); set resume=RUN_FOLDER")
