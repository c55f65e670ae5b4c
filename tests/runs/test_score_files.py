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


def test_scores_survive_json(tmp_path: Path) -> None:
    score_files.write_scores(tmp_path, rows(), "OSIE")
    assert json.loads((tmp_path / "scores.json").read_text()) == score_files.read_scores(tmp_path)


def test_ig_says_over_which_prior(tmp_path: Path) -> None:
    centre = {"dataset": "OSIE", "images": "500 training images", "bandwidth": 0.0476}
    settings: dict[str, dict[str, object]] = {"centre": {**centre}, "run": {"bandwidth": 0.7}}
    score_files.write_scores(tmp_path, rows(), "OSIE", settings=settings)
    summary = score_files.read_scores(tmp_path)
    assert summary["ig_over"] == "centre prior of 500 training images of OSIE, bandwidth 0.0476"
    assert summary["settings"] == settings
