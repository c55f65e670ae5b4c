import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from torch import nn

from deepsal.models import STAGES, Backbone

STUDY = Path(__file__).parents[2] / "experiments" / "clamp"
FIGURE = runpy.run_path(str(STUDY / "figure.py"))


def plain() -> Backbone:
    stages = [nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.ReLU()) for _ in STAGES]
    pooled = [stages[0], *(nn.Sequential(nn.MaxPool2d(2), stage) for stage in stages[1:])]
    network = Backbone(pooled, name="plain").eval()
    for parameter in network.parameters():
        parameter.data.abs_()
    return network


def test_the_study_trains_three_seeds_and_two_controls_without_looking() -> None:
    study = yaml.safe_load((STUDY / "study.yaml").read_text())
    assert {"override backbone": "vgg16"} in study["defaults"]
    assert {"override rf": "none"} in study["defaults"]
    params = study["hydra"]["sweeper"]["params"]
    assert params == {"control": "null,shuffled_fixations,other_task", "seed": "0,1,2"}


def test_the_verdict_is_that_of_a_training_of_the_study() -> None:
    claims = yaml.safe_load((STUDY / "claims.yaml").read_text())
    assert claims["ckpt"] == "runs/studies/clamp/vgg16-all-kl_cc_nss-s0"
    assert claims["claims"] == {"names": ["P4", "P5"], "controls": ["runs/studies/clamp"]}


def test_a_sweep_becomes_a_table_with_the_published_columns_and_a_picture() -> None:
    maps = {"untrained": FIGURE["clamp_sweep"](FIGURE["chain_to_pooling"](plain(), 2))}
    table = FIGURE["sweep_table"](maps)
    published = pd.read_csv(STUDY / "expected.csv")
    assert [*table.columns] == [*published.columns]
    assert published["network"].unique().tolist() == ["untrained", "original", "tuned"]
    assert table["maximum"].to_numpy() == pytest.approx(table["maximum"][0] * 2 * table["c"])
    assert table["away_from_scaled"].max() < 1e-6
    assert np.allclose(table["width"], table["width"][0])
    assert len(FIGURE["draw_sweep"](maps).axes) == 3 * 6


def test_what_is_published_only_scales() -> None:
    published = pd.read_csv(STUDY / "expected.csv")
    assert published["away_from_scaled"].max() < 1e-6
    assert published.groupby("network")["width"].nunique().tolist() == [1, 1, 1]
