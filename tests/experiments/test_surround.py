import runpy
from pathlib import Path

import pandas as pd
import torch
import yaml
from torch import nn

from deepsal.rf.claims.rules import ClaimRow
from deepsal.statistics import Interval
from tests.conftest import backbone

ROOT = Path(__file__).parents[2]
STUDY = ROOT / "experiments" / "surround"


def test_the_study_trains_three_seeds_and_their_controls_without_looking() -> None:
    study = yaml.safe_load((STUDY / "study.yaml").read_text(encoding="utf-8"))
    params = study["hydra"]["sweeper"]["params"]
    assert params == {"control": "null,shuffled_fixations,other_task", "seed": "0,1,2"}
    assert {"override rf": "none"} in study["defaults"]


def test_what_is_published_has_the_columns_that_the_script_writes() -> None:
    verdict_table = runpy.run_path(str(STUDY / "decide_claims.py"))["verdict_table"]
    rows = verdict_table(
        [ClaimRow("P3", "conv5", "csi", Interval(0.2, 0.1, 0.3, 90), "before", 0.25, 0.04)]
    )
    table = pd.read_csv(STUDY / "expected.csv")
    assert {*table.columns} <= {*rows.columns}
    assert rows.loc[0, ["estimate", "low", "high", "count"]].tolist() == [0.2, 0.1, 0.3, 90]
    decided = table[table["outcome"].notna()]
    assert set(decided["claim"]) == {"P1", "P2", "P3"}
    assert table.loc[table["measure"] == "csi", "count"].max() <= 3 * 32


def test_vgg16_is_published_with_all_five_claims() -> None:
    table = pd.read_csv(STUDY / "vgg16.csv")
    assert [*table.columns] == [*pd.read_csv(STUDY / "expected.csv").columns]
    assert set(table["claim"]) == {"P1", "P2", "P3", "P4", "P5"}
    assert table.loc[table["measure"] == "cosine", "count"].tolist() == [32] * 5


def test_a_linear_unit_has_a_perfectly_reliable_field_and_a_deep_one_has_not() -> None:
    torch.manual_seed(0)
    linear = nn.Sequential(nn.Conv2d(3, 4, 5, padding=2, bias=False))
    deep = backbone().eval()
    images = torch.rand(16, 3, 64, 64)
    reliability = runpy.run_path(str(STUDY / "reliability.py"))["reliability_table"]
    assert [*reliability(linear, {"0": range(4)}, images, [8])["8"]] == ["1.000"]
    table = reliability(deep, {"conv5": range(4)}, images, [4, 16])
    assert float(table.loc[0, "4"]) < float(table.loc[0, "16"]) < 1
