import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
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
