import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from deepsal.runs import score_files


def rows() -> list[dict[str, object]]:
    generator = np.random.default_rng(0)
    return [
        {"name": f"{i}.jpg", "nss": float(generator.normal(2, 1)), "centre_nss": 1.0}
        for i in range(50)
    ]


def test_one_row_per_image_and_means_with_intervals(tmp_path: Path) -> None:
    score_files.write_scores(tmp_path, rows(), "OSIE")
    table = pd.read_csv(tmp_path / "scores.csv")
    assert table["name"].tolist() == [row["name"] for row in rows()]
    found = score_files.read_scores(tmp_path)
    assert (found["dataset"], found["images"]) == ("OSIE", 50)
    assert found["scores"]["run"]["nss"]["mean"] == pytest.approx(table["nss"].mean())
    assert found["scores"]["centre"]["nss"] == {"mean": 1.0, "low": 1.0, "high": 1.0, "count": 50}
    assert not list(tmp_path.glob(".*"))


def test_the_interval_is_that_of_the_mean() -> None:
    values = np.random.default_rng(1).normal(2, 1, 400)
    found = score_files.bootstrap_mean_interval(values)
    half = 1.96 * values.std(ddof=1) / np.sqrt(400)
    assert found["low"] == pytest.approx(values.mean() - half, abs=0.15 * half)
    assert found["high"] == pytest.approx(values.mean() + half, abs=0.15 * half)


def test_images_without_a_score_are_counted_out() -> None:
    found = score_files.bootstrap_mean_interval(np.array([1.0, np.nan, 3.0]))
    assert (found["mean"], found["count"]) == (2.0, 2)
    assert score_files.bootstrap_mean_interval(np.array([np.nan]))["count"] == 0


def test_scores_survive_json(tmp_path: Path) -> None:
    score_files.write_scores(tmp_path, rows(), "OSIE")
    assert json.loads((tmp_path / "scores.json").read_text()) == score_files.read_scores(tmp_path)
