from pathlib import Path

import numpy as np
import pytest

from deepsal.report import run_folders
from deepsal.report.page import training_curves
from tests.report.support import write_metrics


def test_training_and_validation_share_an_axis_of_epochs(tmp_path: Path) -> None:
    write_metrics(tmp_path)
    assert training_curves.steps_per_epoch(run_folders.read_metrics_csv(tmp_path)) == 30
    charts = {chart.title: chart for chart in training_curves.training_charts(tmp_path)}
    assert [*charts] == ["loss", "NSS"]
    assert charts["loss"].names == ["train", "val"]
    assert [place for place, cells in charts["loss"].rows if cells[1]] == ["1", "2"]
    assert charts["NSS"].names == ["val"]


def test_a_number_is_found_by_its_step(tmp_path: Path) -> None:
    write_metrics(tmp_path)
    values = training_curves.logged_at_steps(tmp_path, "rf/conv1/cka_to_start", [0, 30, 45, 60])
    assert values[:2] == pytest.approx([1.0, 0.9])
    assert np.isnan(values[2])
    assert values[3] == pytest.approx(0.8)
    assert np.isnan(training_curves.logged_at_steps(tmp_path, "rf/conv9/k", [0])).all()


def test_long_runs_are_averaged_in_groups(tmp_path: Path) -> None:
    write_metrics(tmp_path, steps=5000, epochs=1)
    chart = training_curves.training_charts(tmp_path)[0].lines[0]
    assert 100 < len(chart.points) <= training_curves.MAX_POINTS


def test_a_run_that_logged_nothing_has_no_curves(tmp_path: Path) -> None:
    assert training_curves.training_charts(tmp_path) == []
    (tmp_path / "metrics.csv").write_text("")
    assert training_curves.training_charts(tmp_path) == []
