import runpy
from pathlib import Path

import pandas as pd
import pytest

from deepsal.models import MixtureCeiling
from tests.models.baselines.support import dataset, planted

STUDY = Path(__file__).parents[2] / "experiments" / "ceiling"
SCRIPT = runpy.run_path(str(STUDY / "measure.py"))


def test_weights_that_have_seen_the_person_find_differences_where_there_are_none() -> None:
    images = dataset(planted(3.0, people=8, images=40), test=20)
    ceiling, shared = (MixtureCeiling(concentration=c).prepare(images) for c in (30.0, 1e9))
    gains = {k: v.mean() for k, v in SCRIPT["information_gains"](ceiling, shared).items()}
    assert gains["nested"] == pytest.approx(gains["data set"], abs=0.015)
    assert gains["seen"] > gains["data set"] + 0.03


def test_weights_of_images_that_differ_gain_without_having_seen_the_person() -> None:
    images = dataset(planted([0.8, 8.0], people=8, images=24), test=8)
    ceiling, shared = (MixtureCeiling(concentration=c).prepare(images) for c in (10.0, 1e9))
    gains = {k: v.mean() for k, v in SCRIPT["information_gains"](ceiling, shared).items()}
    assert gains["data set"] + 0.1 < gains["nested"] < gains["seen"]


@pytest.mark.parametrize("data", ["osie", "nus_scene"])
def test_the_published_table_shows_what_the_page_says(data: str) -> None:
    table = pd.read_csv(STUDY / "expected.csv").query("data == @data")
    rows = table.set_index(["measure", "condition"]).to_dict("index")
    for score in ("nss", "auc", "sauc", "ig"):
        assert rows[score, "mixture"]["difference_low"] > 0
    for score in ("cc", "sim"):
        assert rows[score, "mixture"]["difference_high"] < 0
    assert rows["ig", "mixture, seen"]["difference_low"] > 0
    assert rows["ig", "mixture, fixed bandwidths"]["difference_high"] < 0
    gain = rows["ig", "mixture"]["difference"]
    assert abs(rows["ig", "mixture, data set"]["difference"]) < 0.1 * gain
