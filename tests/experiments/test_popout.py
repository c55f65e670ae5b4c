import json
import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from deepsal.data.popout.features import POPOUT_FEATURES
from deepsal.data.popout.popout import TARGET_CONTRASTS

STUDY = Path(__file__).parents[2] / "experiments" / "popout"
FIGURE = runpy.run_path(str(STUDY / "figure.py"))
FEATURES, CONTRASTS = ["colour", "gap"], [0.5, 1.0]


def write_job(folder: Path, network: str, seed: int, gsi: float, ckpt: Path | None = None) -> None:
    folder.mkdir(parents=True)
    (folder / "done").touch()
    random = np.random.default_rng(seed)
    rows = [
        {
            "name": f"{FEATURES[i % 2]}-{i:04d}",
            "gsi": gsi * CONTRASTS[i // 2 % 2] + random.normal(0, 0.05),
            "msrtarget": np.inf if not i else 1.0,
            "msrbackground": 1.0,
            "search": 3.0,
            "nss": 2.0,
        }
        for i in range(8, 40)
    ]
    pd.DataFrame(rows).to_csv(folder / "scores.csv", index=False)
    trained = network in ("none", "all", "arrays")
    config = {
        "network": {"name": "saliency" if trained else network},
        "finetune": {"name": network},
        "control": None,
        "do": ["test"],
        "trained": {"start": "all-s0" if network == "arrays" else None},
        "ckpt": ckpt and str(ckpt / "checkpoints" / "best.ckpt"),
        "seed": seed,
        "data": {"name": "popout", "dataset": {"features": FEATURES, "contrasts": CONTRASTS}},
    }
    (folder / "config.yaml").write_text(json.dumps(config))


def test_networks_are_compared_on_the_same_arrays(tmp_path: Path) -> None:
    for network, gsi in (("none", 0.1), ("all", 0.3)):
        for seed in (0, 1):
            trained = tmp_path / "trained" / f"{network}-s{seed}"
            write_job(trained, network, seed, gsi)
            write_job(tmp_path / "runs" / trained.name, network, seed, gsi, trained)
    write_job(tmp_path / "runs" / "itti", "itti", 0, 0.5)
    for seed in (0, 1):
        write_job(tmp_path / "runs" / f"tuned-s{seed}", "arrays", seed, 0.9)
    arrays = FIGURE["read_arrays"](tmp_path / "runs")
    natural = FIGURE["read_natural_nss"](tmp_path / "runs")
    assert {name: of.shape for name, of in natural.items()} == {"none": (2, 32), "all": (2, 32)}
    table = FIGURE["popout_table"](arrays, natural)
    whole = table[table["group"] == "all"].set_index("network")
    assert whole["gsi"].round(1).to_dict() == {
        "none": 0.1,
        "all": 0.2,
        "arrays": 0.7,
        "itti": 0.4,
    }
    assert whole.loc["all", "gsi_minus_none_low"] > 0.1
    assert whole.loc["all", "gsi_minus_itti_high"] < -0.1
    assert whole["msrtarget"].tolist() == [1, 1, 1, 1]
    contrasts = table[(table["group"] == "contrast") & (table["network"] == "itti")]
    assert contrasts.set_index("value")["gsi"].round(1).to_dict() == {0.5: 0.2, 1.0: 0.5}
    assert len(FIGURE["draw_table"](table).axes) == 4
    with pytest.raises(FileNotFoundError, match="no finished job"):
        FIGURE["read_arrays"](tmp_path)


def test_the_arrays_are_the_whole_battery() -> None:
    study = yaml.safe_load((STUDY / "study.yaml").read_text())
    dataset = study["data"]["dataset"]
    assert dataset["features"] == [*POPOUT_FEATURES]
    assert dataset["contrasts"] == pytest.approx(TARGET_CONTRASTS, abs=1e-6)
    assert not any(count % (15 * 7) for count in dataset["images"])
