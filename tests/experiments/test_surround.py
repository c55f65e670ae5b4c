import runpy
from pathlib import Path

import pandas as pd
import yaml

ROOT = Path(__file__).parents[2]
STUDY = ROOT / "experiments" / "surround"
CONTROLS = {"untrained", "bn_only", "displaced", "weights_only", "shuffled_fixations", "other_task"}
FIGURE = runpy.run_path(str(STUDY / "figure.py"))


def test_the_study_trains_three_seeds_and_their_controls_without_looking() -> None:
    study = yaml.safe_load((STUDY / "study.yaml").read_text(encoding="utf-8"))
    params = study["hydra"]["sweeper"]["params"]
    assert params == {"control": "null,shuffled_fixations,other_task", "seed": "0,1,2"}
    assert {"override rf": "none"} in study["defaults"]


def test_power_becomes_one_row_per_network_with_a_rule() -> None:
    rule = {"power": {"0.55": 0.8}, "false_alarms": {"gabor": 0.02, "noise": 0.04}}
    network: dict[str, object] = {"network": "tuned, seed 0", "stage": "conv5"}
    network |= {
        "background": "grey",
        "reliability": 0.9,
        "pairs": 8,
        "spread": 1.0,
        "found": {"mean": 0.1},
    }
    power = FIGURE["power_table"]([{**network, "rule": rule}, {**network, "rule": None}])
    assert power[["found", "power_0.55", "false_alarms"]].to_numpy().tolist() == [[0.1, 0.8, 0.04]]


def test_what_is_published_has_all_controls_reliabilities_and_power() -> None:
    verdict, power = (pd.read_csv(STUDY / f"{name}.csv") for name in ("expected", "power"))
    decided = verdict[verdict["outcome"].notna()]
    assert set(decided["claim"]) == {"P1", "P2", "P3"}
    compared = verdict[verdict["measure"] == "more change than"]
    for _, rows in compared.groupby(["stage", "background"]):
        assert set(rows["reference"]) == CONTROLS
    of_tuned = power[power["network"].str.startswith("tuned")]
    assert of_tuned.groupby(["stage", "background"]).size().tolist() == [3] * 4
    assert of_tuned["power_0.55"].between(0, 1).all()
