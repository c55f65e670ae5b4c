from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parents[2]


def test_what_is_published_has_every_job_and_the_columns_the_tiny_study_makes() -> None:
    table = pd.read_csv(ROOT / "experiments" / "depth" / "expected.csv")
    assert len(table) == 18
    assert table.groupby("depth")["seed"].nunique().tolist() == [3] * 6
    assert {"nss", "cc", "kl", "sim", "auc", "conv1", "conv5"} <= set(table.columns)
