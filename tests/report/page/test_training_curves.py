from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from deepsal.report import run_folders
from deepsal.report.page import training_curves


def logged(folder: Path, steps: int = 30, epochs: int = 2) -> None:
    rows: list[dict[str, float]] = [{"epoch": 0, "step": 0, "rf/conv1/cka_to_start": 1.0}]
    for step in range(9, steps * epochs, 10):
        rows.append({"epoch": step // steps, "step": step, "train/loss": 1 / (step + 1)})
    for epoch in range(epochs):
        end = steps * (epoch + 1)
        rows.append({"epoch": epoch, "step": end - 1, "val/loss": 0.5, "val/nss": epoch})
        rows.append({"epoch": epoch, "step": end, "rf/conv1/cka_to_start": 0.9 - epoch / 10})
    pd.DataFrame(rows).to_csv(folder / "metrics.csv", index=False)


def test_training_and_validation_share_an_axis_of_epochs(tmp_path: Path) -> None:
    logged(tmp_path)
    assert training_curves.steps_per_epoch(run_folders.read_metrics_csv(tmp_path)) == 30
    charts = {chart.title: chart for chart in training_curves.training_charts(tmp_path)}
    assert [*charts] == ["loss", "NSS"]
    assert charts["loss"].names == ["train", "val"]
    assert [place for place, cells in charts["loss"].rows if cells[1]] == ["1", "2"]
    assert charts["NSS"].names == ["val"]


def test_a_number_is_found_by_its_step(tmp_path: Path) -> None:
    logged(tmp_path)
    found = training_curves.logged_at_steps(tmp_path, "rf/conv1/cka_to_start", [0, 30, 45, 60])
    assert found[:2] == pytest.approx([1.0, 0.9])
    assert np.isnan(found[2])
    assert found[3] == pytest.approx(0.8)
    assert np.isnan(training_curves.logged_at_steps(tmp_path, "rf/conv9/k", [0])).all()


def test_long_runs_are_averaged_in_groups(tmp_path: Path) -> None:
    logged(tmp_path, steps=5000, epochs=1)
    made = training_curves.training_charts(tmp_path)[0].lines[0]
    assert 100 < len(made.points) <= training_curves.MAX_POINTS


def test_a_run_that_logged_nothing_has_no_curves(tmp_path: Path) -> None:
    assert training_curves.training_charts(tmp_path) == []
    (tmp_path / "metrics.csv").write_text("")
    assert training_curves.training_charts(tmp_path) == []
