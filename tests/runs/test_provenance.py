import json
import subprocess
from pathlib import Path

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


def test_code_outside_git_has_no_commit(tmp_path: Path) -> None:
    provenance.write_provenance(tmp_path, tmp_path, [])
    about = json.loads((tmp_path / "origin.json").read_text())
    assert (about["commit"], about["dirty"]) == (None, False)
