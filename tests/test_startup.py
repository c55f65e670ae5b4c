"""Imports of the command line before it answers, imports of a job, and folders of both."""

import os
from pathlib import Path

import pytest

from tests.support import NO_STEPS, ROOT, start

HEAVY = {"torch", "torchvision", "pytorch_lightning", "lightning_fabric", "timm", "captum", "wandb"}
DRAWING = {"numpy", "matplotlib", "pandas", "scipy"}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--help"], 0, "finetune"),
        (["--cfg", "job", "data=popout"], 0, "deepsal.data.popout_dataset"),
        (["--cfg", "job", "--resolve", "data=popout"], 0, "precision: "),
        (["finetune=conv7"], 1, "conv5"),
        (["resume=nowhere"], 1, "resume=nowhere does not exist, and no run below runs"),
    ],
    ids=["help", "configuration", "resolved configuration", "wrong option", "wrong folder"],
)
def test_the_command_line_answers_before_any_network_library_is_imported(
    arguments: list[str], code: int, words: str, tmp_path: Path
) -> None:
    packages, said = start(tmp_path, *arguments, code=code)
    assert words in said
    assert "Traceback" not in said
    assert not packages & (HEAVY | DRAWING)


def test_only_the_jobs_of_a_sweep_import_torch(tmp_path: Path) -> None:
    sweep = ["-m", *NO_STEPS, f"hydra.sweep.dir={tmp_path / 'sweep'}", "seed=0,1"]
    for outcome in ("2 done", "2 skipped"):
        packages, said = start(tmp_path, *sweep)
        assert outcome in said
        assert not packages & HEAVY
    assert (tmp_path / "sweep" / "report.html").is_file()


def test_a_sweep_that_submitit_runs_here_imports_no_torch_in_its_parent(tmp_path: Path) -> None:
    sweep = ["-m", *NO_STEPS, f"hydra.sweep.dir={tmp_path / 'sweep'}", "hydra/launcher=local"]
    packages, said = start(tmp_path, *sweep)
    assert "1 done" in said
    assert "submitit" in packages
    assert not packages & HEAVY


def test_a_sweep_for_slurm_imports_no_torch_before_it_is_submitted(tmp_path: Path) -> None:
    (tmp_path / "srun").touch(mode=0o755)
    (tmp_path / "sbatch").write_text("#!/bin/sh\necho the queue is closed >&2; exit 1\n")
    (tmp_path / "sbatch").chmod(0o755)
    sweep = ["-m", *NO_STEPS, f"hydra.sweep.dir={tmp_path / 'sweep'}", "hydra/launcher=slurm"]
    path = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    packages, said = start(tmp_path, *sweep, "trainer=cluster", code=1, variables=path)
    assert "the queue is closed" in said
    assert not packages & HEAVY


@pytest.mark.parametrize("logger", ["csv", "wandb"])
def test_wandb_is_imported_only_where_it_logs(logger: str, tmp_path: Path) -> None:
    options = [*NO_STEPS, f"logger={logger}", f"hydra.run.dir={tmp_path / 'run'}"]
    packages, _ = start(tmp_path, *options, variables={"WANDB_MODE": "offline"})
    assert {"torch", "pytorch_lightning"} <= packages
    assert ("wandb" in packages) == (logger == "wandb")


STUDY = """
defaults: [config, _self_]
seed: 3
hydra:
  mode: {mode}
  run: {{dir: study}}
  sweep: {{dir: study}}
  sweeper: {{params: {{seed: 3}}}}
"""


@pytest.mark.parametrize("mode", ["RUN", "MULTIRUN"])
def test_a_study_with_a_folder_of_its_own_makes_no_other(mode: str, tmp_path: Path) -> None:
    (cwd := tmp_path / "cwd, {a} b").mkdir()
    (tmp_path / "study.yaml").write_text(STUDY.format(mode=mode))
    study = ["-cd", str(tmp_path), "-cn", "study", *NO_STEPS, "logger=csv"]
    start(tmp_path, *study, cwd=cwd)
    assert [path.name for path in cwd.iterdir()] == ["study"]
    assert len([*cwd.glob("study/**/config.yaml")]) == 1


def test_a_run_without_a_folder_makes_one_below_the_current_folder(tmp_path: Path) -> None:
    (cwd := tmp_path / "cwd, {a} b").mkdir()
    start(tmp_path, *NO_STEPS, cwd=cwd)
    (folder,) = cwd.glob("*/*/*")
    assert folder.name.endswith("-resnet18-all-kl_cc_nss-s0")
    assert (folder / "config.yaml").is_file()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--info", "config"],
        ["--cfg", "job", "--resolve"],
        ["--cfg", "all", "--resolve"],
        ["-cd", ROOT / "experiments" / "depth", "-cn", "tiny", "--cfg", "all", "--resolve"],
        ["-m", "seed=0,1", "finetune=conv7"],
    ],
    ids=["help", "information", "configuration", "whole configuration", "study", "wrong option"],
)
def test_a_command_line_that_starts_no_run_makes_no_folder(
    arguments: list[str], tmp_path: Path
) -> None:
    (cwd := tmp_path / "cwd").mkdir()
    start(tmp_path, *map(str, arguments), "data=popout", code="-m" in arguments, cwd=cwd)
    assert not [*cwd.iterdir()]
