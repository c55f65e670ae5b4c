import runpy
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from PIL import Image

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_tiny_study_runs_and_becomes_a_table_and_a_figure(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    command = ["run.py", "-cd", "experiments/depth", "-cn", "tiny", f"hydra.sweep.dir={runs}"]
    for arguments in (command, ["experiments/depth/figure.py", runs, "--to", tmp_path]):
        done = subprocess.run(
            [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
    table = pd.read_csv(tmp_path / "expected.csv")
    assert table["depth"].tolist() == ["none", "all"]
    frozen, tuned = table.to_dict("records")
    assert frozen["conv2"] == 1
    assert tuned["conv2"] < 1
    with Image.open(tmp_path / "figure.png") as picture:
        assert picture.size[0] > 1000


def test_what_is_published_has_every_job_and_the_columns_the_tiny_study_makes() -> None:
    table = pd.read_csv(ROOT / "experiments" / "depth" / "expected.csv")
    assert len(table) == 18
    assert table.groupby("depth")["seed"].nunique().tolist() == [3] * 6
    assert {"nss", "cc", "kl", "sim", "auc", "conv1", "conv5"} <= set(table.columns)


def test_the_control_moves_every_tensor_as_far_as_tuning_did_but_elsewhere() -> None:
    script = ROOT / "experiments" / "depth" / "size_matched_control.py"
    variants = runpy.run_path(str(script))["weight_variants"]
    torch.manual_seed(0)
    start = {"conv1.weight": torch.randn(8, 3, 3, 3), "conv1.running_mean": torch.zeros(8)}
    tuned = {"conv1.weight": start["conv1.weight"] + 0.1, "conv1.running_mean": torch.ones(8)}
    states = variants(start, tuned, seed=0)
    moved = {name: state["conv1.weight"] - start["conv1.weight"] for name, state in states.items()}
    assert torch.allclose(moved["random"].norm(), moved["tuned"].norm())
    assert (
        torch.nn.functional.cosine_similarity(
            moved["random"].flatten(), moved["tuned"].flatten(), dim=0
        ).abs()
        < 0.3
    )
    assert not moved["statistics"].any()
    assert torch.equal(states["statistics"]["conv1.running_mean"], torch.ones(8))
    assert torch.equal(states["random"]["conv1.running_mean"], torch.zeros(8))
