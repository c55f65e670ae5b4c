from pathlib import Path

import numpy as np
import pytest

from deepsal.atomic import write_json
from experiments.size_tuning.compare import size_tuning_table


def layer(ssi: list[float]) -> dict[str, object]:
    estimate = {"estimate": 0.5}
    names = "ssi", "summation_field", "surround_diameter", "frequency"
    return {
        "units": len(ssi),
        "responsive": len(ssi) - 1,
        "suppressed": estimate,
        "similarity": dict.fromkeys(names, estimate),
        "values": {"ssi": ssi, "disk_ssi": ssi},
    }


def test_the_change_of_a_stage_is_that_of_its_units(tmp_path: Path) -> None:
    before = np.linspace(0.1, 0.5, 12)
    changed = [*(before + 0.2 + before / 100), np.nan]
    networks = {
        "after training": {"conv1": layer(changed), "conv2": layer([*before, 0.3])},
        "before training": {s: layer([*before, 0.3]) for s in ("conv1", "conv2")},
    }
    write_json(tmp_path / "v1.json", {"networks": networks})
    rows = {(r["network"], r["stage"]): r for r in size_tuning_table([tmp_path]).to_dict("records")}
    row = rows["after training", "conv1"]
    assert row["change"] == pytest.approx(0.203, abs=1e-3)
    assert row["change_low"] > 0.2
    assert row["p"] < 0.01
    assert rows["after training", "conv2"]["change"] == 0
    assert np.isnan(rows["before training", "conv1"]["change"])
    assert row["ssi_50"] == pytest.approx(np.median(changed[:-1]), abs=1e-3)
