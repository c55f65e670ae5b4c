import numpy as np
import pytest

from experiments.size_tuning.figure import change_rows, network_rows

START = np.append(np.linspace(0.01, 0.5, 12), np.nan)
"""Suppression of units before training; the last one does not respond."""


def layer(ssi: np.ndarray[tuple[int], np.dtype[np.float64]]) -> dict[str, object]:
    estimate = {"estimate": 0.5, "low": 0.4, "high": 0.6}
    values = [None if np.isnan(value) else float(value) for value in ssi]
    return {
        **{"units": len(ssi), "silent": 1, "responsive": len(ssi) - 1, "suppressed": estimate},
        "similarity": {"ssi": estimate},
        "values": {"ssi": values, "disk_ssi": [0.5] * len(ssi)},
    }


NETWORKS = {
    "after training": {"conv1": layer(START + 0.2), "conv2": layer(START)},
    "before training": {"conv1": layer(START), "conv2": layer(START)},
    "untrained": {"conv1": layer(START * 0), "conv2": layer(START * 0)},
    "after training, seed 1": {"conv1": layer(START + 0.3), "conv2": layer(START)},
    "shuffled_fixations, seed 0": {"conv1": layer(START + 0.1), "conv2": layer(START)},
    "shuffled_fixations, seed 1": {"conv1": layer(START + 0.2), "conv2": layer(START)},
}


def test_the_change_of_a_stage_is_that_of_its_units_in_all_seeds() -> None:
    rows = {(row["trained_on"], row["measure"], row["stage"]): row for row in change_rows(NETWORKS)}
    assert len(rows) == 2 * 3 * 2
    row = rows["fixations", "ssi", "conv1"]
    assert (row["seeds"], row["units"]) == (2, 12)
    assert row["change"] == pytest.approx(0.25)
    assert row["change_low"] < 0.2 <= 0.3 < row["change_high"]
    assert "less_than_fixations" not in row
    assert rows["fixations", "ssi", "conv2"]["change"] == 0
    control = rows["shuffled_fixations", "ssi", "conv1"]
    assert control["change"] == pytest.approx(0.15)
    assert control["less_than_fixations"] == pytest.approx(0.1)
    share = rows["fixations", "suppressed", "conv1"]
    assert share["change"] == pytest.approx((START[:-1] < 0.1).mean())
    assert rows["fixations", "disk_ssi", "conv1"]["change"] == 0


def test_a_run_without_training_has_no_changes_but_quartiles() -> None:
    networks = {name: NETWORKS[name] for name in ("before training", "untrained")}
    assert not [*change_rows(networks)]
    row = next(network_rows(networks))
    assert row["network"] == "before training"
    assert row["ssi_50"] == pytest.approx(np.nanmedian(START))
    assert (row["silent"], row["v1_ssi_low"]) == (1, 0.4)
