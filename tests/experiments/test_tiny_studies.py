"""The tiny variant of each study, and its figure, as `make study` runs them."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
EXPERIMENTS = ROOT / "experiments"
STUDIES = sorted(file.parent.name for file in EXPERIMENTS.glob("*/study.sh"))
TINY_STUDIES = sorted(file.parent.name for file in EXPERIMENTS.glob("*/tiny.yaml"))


def python(*arguments: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, stdout=-1, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def run_tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Path]]:
    """A function that runs a tiny study after those it needs, once, and returns its folder."""
    runs = tmp_path_factory.mktemp("studies")

    @cache
    def run(name: str) -> Path:
        text = (EXPERIMENTS / name / "tiny.yaml").read_text()
        options = [f"hydra.sweep.dir={runs / name}-tiny"]
        for line in re.findall("^# Needs: (.*)", text, re.MULTILINE):
            options.append(f"studies={runs}")
            for needed in line.split():
                run(needed)
        python("run.py", "-cd", f"experiments/{name}", "-cn", "tiny", *options)
        return runs / f"{name}-tiny"

    yield run
    shutil.rmtree(runs)  # gigabytes of checkpoints


def decide_tiny(name: str, trainings: Path, folder: Path) -> Path:
    """Run the claims of a study on its tiny trainings, with little of everything."""
    (tuned,) = (file.parent for file in trainings.glob("*-kl_cc_nss-s0/done"))
    options = [f"ckpt={tuned}", f"claims.controls=[{trainings}]", "claims.built_in=[untrained]"]
    options += ["claims.units=3", "claims.pairs=8", "claims.images=3", "claims.plantings=10"]
    options += ["claims.stages=[conv1,conv4,conv5]", "claims.tuning=false"]
    place = ["hydra.mode=RUN", f"hydra.run.dir={folder}"]
    python("run.py", "-cd", f"experiments/{name}", "-cn", "claims", *options, *place)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY_STUDIES)
def test_a_tiny_study_runs_and_becomes_a_table_and_a_figure(
    name: str, run_tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    runs = run_tiny(name)
    states = [file.read_text() for file in runs.glob("*/status")]
    assert states
    assert set(states) == {"done\n"}
    if (EXPERIMENTS / name / "claims.yaml").is_file():  # its figure is that of a verdict
        runs = decide_tiny(name, runs, tmp_path / "claims")
    if name == "size_tuning":  # its figure is that of a run
        runs /= "tiny"
    python(EXPERIMENTS / name / "figure.py", runs, "--to", tmp_path)
    table = pd.read_csv(tmp_path / "expected.csv")
    assert [*table.columns] == [*pd.read_csv(EXPERIMENTS / name / "expected.csv").columns]
    if name == "depth":
        frozen, tuned = table.to_dict("records")
        assert (frozen["depth"], tuned["depth"]) == ("none", "all")
        assert frozen["conv2"] == 1 > tuned["conv2"]
    with Image.open(tmp_path / "figure.png") as picture:
        assert picture.size[0] > 800


@pytest.mark.parametrize("name", ["", "deepness"])
def test_an_unknown_study_is_an_error_that_lists_the_others(name: str) -> None:
    command = ["make", "--assume-old=.venv/.installed", "study", f"NAME={name}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0
    assert f"there is no study '{name}'" in done.stdout
    assert "clamp depth" in done.stdout


def test_make_study_hands_on_the_options_for_all_jobs() -> None:
    command = ["make", "--assume-old=.venv/.installed", "--dry-run", "study", "NAME=depth"]
    command.append("ARGS=data_dir=photos seed=1")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "sh -eux experiments/depth/study.sh data_dir=photos seed=1\n" in done.stdout


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_runs_all_that_its_folder_holds(name: str, tmp_path: Path) -> None:
    (tmp_path / "python").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "python").chmod(0o755)
    place = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    printed = subprocess.check_output(
        ["sh", "-eu", f"experiments/{name}/study.sh", "data_dir=photos"],
        cwd=ROOT,
        env={**os.environ, "PATH": place, "DEEPSAL_DATA": "photos"},
        text=True,
    )
    steps = [line.split() for line in printed.splitlines()]
    sweeps = [step[1:] for step in steps if step[0] == "run.py"]
    configs = []
    for flag, folder, other, config, *options in sweeps:
        assert (flag, other, options) == ("-cd", "-cn", ["data_dir=photos"])
        configs.append(f"{folder}/{config}.yaml")
    assert all((ROOT / config).is_file() for config in configs)
    own = [file.name for file in (EXPERIMENTS / name).glob("*.yaml") if file.stem != "tiny"]
    assert sorted(own) == sorted(
        config.rpartition("/")[2] for config in configs if f"/{name}/" in config
    )
    scripts = steps[len(sweeps) :]
    assert scripts
    assert all(script.startswith(f"experiments/{name}/") for script, *_ in scripts)
    assert all((ROOT / script).is_file() for script, *_ in scripts)
