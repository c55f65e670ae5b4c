import json
import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]
FIGURE = runpy.run_path(str(ROOT / "experiments" / "resolution_and_aspect" / "figure.py"))


def job(fit: str, seed: int, gain: float, data: str = "scenes", height: int = 192) -> object:
    """Scores of 40 images, ten of them portrait, which are better by `gain`."""
    names = [f"{i:02}" for i in range(40)]
    portrait = np.arange(40) < 10
    random = np.random.default_rng(10 * seed + len(fit) + height)
    base = np.random.default_rng(9).normal(2, 0.5, 40) + random.normal(0, 0.02, 40)
    scores = {score: base + gain * portrait for score in ("nss", "cc", "kl")}
    shapes = ["portrait" if p and data == "scenes" else "landscape or square" for p in portrait]
    table = pd.DataFrame(scores, index=names)
    size = (height, 4 * height // 3)
    return FIGURE["Job"](data, size, fit, seed, table, dict(zip(names, shapes, strict=True)), 60.0)


def jobs() -> list[object]:
    gains = {"crop_long": 0.1, "pad": 0.3, "squeeze": 0.0}
    scenes = [job(fit, seed, gain) for fit, gain in gains.items() for seed in range(3)]
    return scenes + [job("squeeze", s, 0.0, "osie", h) for h in (288, 192) for s in range(3)]


def test_a_gain_of_portrait_images_is_seen_there_alone() -> None:
    table = FIGURE["compare_conditions"](jobs())
    scenes = table[(table["data"] == "scenes") & (table["score"] == "nss")]
    assert [*dict.fromkeys(scenes["fit"])] == ["squeeze", "pad", "crop_long"]
    of = scenes.set_index(["fit", "shape"])
    assert of.loc[("pad", "portrait"), "difference_low"] > 0.2
    assert of.loc[("pad", "all"), "difference"] == pytest.approx(0.3 / 4, abs=0.02)
    assert abs(of.loc[("pad", "landscape or square"), "difference"]) < 0.02
    assert of.loc[("squeeze", "all"), "difference"] == 0
    assert of["images"].tolist() == [40, 30, 10] * 3
    osie = table[table["data"] == "osie"]
    assert set(osie["shape"]) == {"all"}
    assert [*dict.fromkeys(osie["height"])] == [192, 288]
    assert len(FIGURE["draw_conditions"](table).axes) == 6


def test_a_condition_without_a_seed_of_the_first_is_an_error() -> None:
    with pytest.raises(FileNotFoundError, match=r"'pad'\): no finished pair of seed 1"):
        FIGURE["compare_conditions"]([job("squeeze", 0, 0), job("squeeze", 1, 0), job("pad", 0, 0)])


def test_jobs_are_read_with_the_shapes_of_their_images(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no finished job; run the study"):
        FIGURE["read_jobs"](tmp_path)
    run = tmp_path / "pad-s0"
    run.mkdir()
    options = {"_target_": "deepsal.data.popout_dataset", "images": [1, 1, 1], "size": [90, 60]}
    data = {"name": "popout", "size": [64, 96], "fit": "pad", "dataset": options}
    (run / "config.yaml").write_text(json.dumps({"data": data, "seed": 0}))
    (run / "origin.json").write_text(json.dumps({"started": "2026-11-27T00:00:00+00:00"}))
    (run / "scores.csv").write_text("name,nss\nb,1\na,2\n")
    (run / "done").touch()
    (read,) = FIGURE["read_jobs"](tmp_path)
    assert read.condition == (64, 96, "pad")
    assert read.scores["nss"].tolist() == [2, 1]
    assert set(read.shapes.values()) == {"portrait"}
