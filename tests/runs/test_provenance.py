import json
import os
import subprocess
from pathlib import Path

import pytest

from deepsal.runs import provenance


def test_commit_changes_packages_and_machine_are_recorded(tmp_path: Path) -> None:
    code, folder = tmp_path / "code", tmp_path / "run"
    code.mkdir()
    folder.mkdir()
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    (code / "a.py").write_text("x = 1\n")
    for command in (["init", "-q"], ["add", "a.py"], [*identity, "commit", "-qm", "first"]):
        subprocess.run(["git", "-C", str(code), *command], check=True)
    (code / "a.py").write_text("x = 2\n")
    provenance.write_provenance(folder, code, ["seed=1"])
    about = json.loads((folder / "origin.json").read_text())
    assert len(about["commit"]) == 40
    assert about["dirty"]
    assert about["cores"] >= 1
    assert "+x = 2" in (folder / "changes.diff").read_text()
    assert "torch==" in (folder / "requirements.txt").read_text()
    assert (folder / "overrides.txt").read_text() == "seed=1\n"


def test_a_change_and_an_option_that_are_no_utf_8_are_recorded_as_they_are(tmp_path: Path) -> None:
    code = tmp_path / "code"
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    code.mkdir()
    (code / "a.txt").write_bytes(b"x\n")
    for command in (["init", "-q"], ["add", "a.txt"], [*identity, "commit", "-qm", "first"]):
        subprocess.run(["git", "-C", str(code), *command], check=True)
    (code / "a.txt").write_bytes(b"caf\xe9\n")
    provenance.write_provenance(tmp_path, code, [os.fsdecode(b"data_dir=caf\xe9")])
    assert b"+caf\xe9" in (tmp_path / "changes.diff").read_bytes()
    assert (tmp_path / "overrides.txt").read_bytes() == b"data_dir=caf\xe9\n"
    assert provenance.read_commit(tmp_path)


def test_an_error_of_the_record_does_not_stop_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> str:
        raise RuntimeError("no processor")

    monkeypatch.setattr(provenance, "cpu_name", fail)
    provenance.prepare_folder(tmp_path, tmp_path / "run.py", ["seed=1"])
    assert "not complete (no processor)" in caplog.text
    assert (tmp_path / "overrides.txt").read_text() == "seed=1\n"
    assert provenance.read_commit(tmp_path) is None


def test_code_outside_git_has_no_commit(tmp_path: Path) -> None:
    provenance.write_provenance(tmp_path, tmp_path, [])
    about = json.loads((tmp_path / "origin.json").read_text())
    assert (about["commit"], about["dirty"]) == (None, False)
