import runpy
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from deepsal.models import SaliencyNetwork
from tests.conftest import datamodule, task
from tests.rf.tuning.support import SMALL

STUDY = Path(__file__).parents[2] / "experiments" / "necessity"
FIGURE, MEASURE, UNITS = (
    runpy.run_path(str(STUDY / f"{name}.py")) for name in ("figure", "measure", "silenced_units")
)


def network() -> SaliencyNetwork:
    of: SaliencyNetwork = task().network.eval()
    return of


def test_two_seeds_become_tables_and_a_figure() -> None:
    doses = {"conv2": (1, 2), "conv3": (1, 3)}
    data = datamodule((8, 8, 9))
    seeds = [MEASURE["silence_stages"](network(), data, doses, 16, 8, SMALL) for _ in range(2)]
    tables = MEASURE["result_tables"]({"all": seeds}, doses)
    assert tables["dose"]["units"].tolist() == [1, 2, 1, 2, 1, 3, 1, 3]
    names = ["training", "criterion", "stage"]
    assert np.isfinite(tables["dose"].drop(columns=names)).all(axis=None)
    assert seeds[0]["size", "conv3"].matched.shape == (2, MEASURE["DRAWS"], 9)
    assert len(FIGURE["draw_doses"](tables["dose"], tables["expected"]).axes) == 6
    for name, table in tables.items():
        assert [*table.columns] == [*pd.read_csv(STUDY / f"{name}.csv").columns]


def test_silenced_units_are_constant_and_none_silenced_changes_nothing() -> None:
    model = network()
    image, fixations = torch.rand(1, 3, 64, 96), torch.ones(1, 64, 96)
    fixations[:, 20:30, 30:40] = 9
    with torch.no_grad():
        outputs = model.backbone(image)
        tested = [(outputs, fixations)]
        mean = outputs["conv4"].mean((0, 2, 3))
        score = MEASURE["score_silenced"]
        intact = score(model, tested, "conv4", [], mean)
        assert score(model, tested, "conv5", [], mean) == pytest.approx(intact, abs=1e-5)
        conv4 = model.backbone.get_submodule("conv4")
        hook = conv4.register_forward_hook(  # the same by a hook
            lambda _m, _i, x: torch.cat(
                [mean[:3, None, None].expand(1, 3, *x.shape[2:]), x[:, 3:]], 1
            )
        )
        hooked = [(model.backbone(image), fixations)]
        expected = score(model, hooked, "conv5", [], mean)
        hook.remove()
        assert score(model, tested, "conv4", range(3), mean) == pytest.approx(expected, abs=1e-5)
    assert expected != pytest.approx(intact, abs=1e-5)


def test_matched_units_are_others_and_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    match_units = UNITS["match_units"]
    properties = np.repeat(np.random.default_rng(0).normal(size=(20, 3)), 2, 0)
    properties[1::2] += 0.001  # a twin for each of the first of a pair
    chosen = np.arange(0, 10, 2)
    several = match_units(properties, chosen, 1)
    assert len({*several} - {*chosen}) == len(chosen)
    monkeypatch.setitem(match_units.__globals__, "NEAREST", 1)
    assert match_units(properties, chosen, 0).tolist() == (chosen + 1).tolist()


def test_a_difference_is_found_and_none_is_not() -> None:
    random = np.random.default_rng(0)
    matched = random.normal(0, 0.05, (3, 4, 100))
    same = MEASURE["compare_changes"](random.normal(0, 0.05, (3, 100)), matched)
    lower = MEASURE["compare_changes"](random.normal(-0.1, 0.05, (3, 100)), matched)
    assert same["difference_low"] < 0 < same["difference_high"]
    assert lower["difference_high"] < 0
    assert lower["p"] < 0.001
    assert 0 < same["smallest_seen"] < 0.1


def test_what_is_published_has_every_training_criterion_stage_and_number_of_units() -> None:
    expected, dose = (pd.read_csv(STUDY / f"{name}.csv") for name in ("expected", "dose"))
    keys = ["training", "criterion", "stage"]
    rows = [*product(FIGURE["LABELS"], FIGURE["CRITERIA"], MEASURE["DOSES"])]
    assert {*expected[keys].itertuples(index=False, name=None)} == {*rows}
    units = dose.groupby(keys)["units"].apply(tuple).to_dict()
    assert units == {key: MEASURE["DOSES"][key[2]] for key in rows}
    for table in (expected, dose):
        assert (table["difference_low"] <= table["difference"]).all()
        assert (table["difference"] <= table["difference_high"]).all()
