import json
import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]
FIGURE = runpy.run_path(str(ROOT / "experiments" / "generalisation" / "figure.py"))


def scored(gain: float, transferred: float, seed: int = 0) -> object:
    """Scores of three seeds on 40 and 50 images, better by `gain` and by a part of it."""
    random = np.random.default_rng(seed)
    own, other = (
        np.random.default_rng(9).normal(2, 0.5, (1, n)) + random.normal(0, 0.05, (3, n))
        for n in (40, 50)
    )
    return FIGURE["ScoredDepth"](own + gain, other + gain * transferred)


def test_a_gain_that_does_not_transfer_is_found_and_one_that_does_is_not_lost() -> None:
    depths = {"none": scored(0, 0), "conv5": scored(0.3, 1, seed=1), "all": scored(0.3, 0, seed=2)}
    table = FIGURE["generalisation_table"](dict.fromkeys(("nss", "cc", "kl"), depths))
    of = table[table["score"] == "nss"].set_index(["depth", "set"])
    assert of.loc[("conv5", "own"), "minus_none_low"] > 0.2
    assert of.loc[("conv5", "other"), "minus_none_low"] > 0.2
    kept, lost = of.loc[("conv5", "transfer")], of.loc[("all", "transfer")]
    assert kept["minus_none_low"] < 0 < kept["minus_none_high"]
    assert lost["minus_none_high"] < -0.2
    assert lost["minus_none_p"] < 0.01
    assert np.isnan(of.loc[("all", "own"), "minus_all"])
    both = pd.concat([table.assign(direction=of) for of in ("one", "other")])
    assert len(FIGURE["draw_differences"](both).axes) == 6


def test_a_steady_loss_over_the_depths_is_found_and_a_gain_that_transfers_is_none() -> None:
    steps = range(6)
    losing = {f"{step}": scored(0.04 * step, 0, seed=step) for step in steps}
    kept = {f"{step}": scored(0.04 * step, 1, seed=step) for step in steps}
    table = FIGURE["trend_table"]({"nss": {"losing": losing, "kept": kept}})
    of = table.set_index(["direction", "set"])
    lost = of.loc[("losing", "transfer")]
    assert lost["change"] == pytest.approx(-0.2, abs=0.04)
    assert lost["change_high"] < -0.1
    assert lost["p"] < 0.01
    assert of.loc[("kept", "other"), "change_low"] > 0.1
    assert abs(of.loc[("kept", "transfer"), "change"]) < 0.04
    pair = FIGURE["trend_table"]({"nss": {"pair": {"none": losing["0"], "all": losing["5"]}}})
    difference = (losing["5"].own - losing["0"].own).mean()  # type: ignore[attr-defined]
    assert pair.set_index("set").loc["own", "change"] == pytest.approx(difference)


def test_scores_are_read_of_the_same_images_in_one_order(tmp_path: Path) -> None:
    for depth, seed in (("all", 0), ("all", 1), ("none", 0)):
        for kind, names in (("trained", "ab"), ("tested", "dc")):
            run = tmp_path / kind / f"{depth}-s{seed}"
            run.mkdir(parents=True)
            (run / "done").touch()
            rows = pd.DataFrame({"name": [*names], "nss": [seed + 1.0, seed + 2.0]})
            rows.to_csv(run / "scores.csv", index=False)
            ckpt = str(tmp_path / "trained" / run.name / "checkpoints" / "best.ckpt")
            options = {"ckpt": ckpt, "finetune": {"name": depth}, "seed": seed}
            sets = {"trained_on": "OSIE", "dataset": "scenes"}
            (run / "scores.json").write_text(json.dumps(sets))
            (run / "config.yaml").write_text(json.dumps(options))
    with pytest.raises(FileNotFoundError, match="no finished job of none, seed 1"):
        FIGURE["read_scores"](tmp_path / "tested", "nss")
    (tmp_path / "tested" / "all-s1" / "done").unlink()
    directions = FIGURE["read_scores"](tmp_path / "tested", "nss")
    assert [*directions] == ["OSIE to scenes"]
    scores = directions["OSIE to scenes"]
    assert [*scores] == ["none", "all"]
    assert scores["all"].own.tolist() == [[1, 2]]
    assert scores["all"].other.tolist() == [[2, 1]]
    with pytest.raises(FileNotFoundError, match="no finished job; run the study"):
        FIGURE["read_scores"](tmp_path, "nss")
