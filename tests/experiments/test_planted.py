import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

STUDY = Path(__file__).parents[2] / "experiments" / "planted"
FIGURE = runpy.run_path(str(STUDY / "figure.py"))


@pytest.mark.parametrize("kind", FIGURE["PLANTED_SHAPES"])
def test_shapes_are_planted_where_and_as_strong_as_stated(kind: str) -> None:
    random = np.random.default_rng(0)
    one, other, truth = FIGURE["plant_fields"](kind, 4, 0.0, 0.0, 4, random)
    assert np.array_equal(one, other)  # no noise
    if kind == "noise":
        assert not one.any()
        return
    if kind.startswith(("dog", "gaussian")):
        peaks = [np.unravel_index(np.abs(w).argmax(), w.shape) for w in one]
        assert np.abs(np.array(peaks) - truth).max() <= 0.5
        assert np.sign([w[p] for w, p in zip(one, peaks, strict=True)]).tolist() == [-1, 1, -1, 1]
    if kind == "dog .9":
        wide = FIGURE["plant_fields"](kind, 2, 0.0, 0.0, 4, random)[0]
        volume = np.abs(wide.sum((1, 2))) / (2 * np.pi * 2**2)
        assert np.allclose(volume, 0.1, atol=0.02)


def test_noise_has_the_stated_deviation_and_grain() -> None:
    random = np.random.default_rng(0)
    one, other, _ = FIGURE["plant_fields"]("noise", 2, 0.2, 1.5, 20, random)
    assert one.std() == pytest.approx(0.2, rel=0.02)
    assert not np.array_equal(one, other)
    assert np.corrcoef(one[:, :, 1:].ravel(), one[:, :, :-1].ravel())[0, 1] > 0.8


def test_what_is_published_has_every_cell_and_few_false_alarms() -> None:
    table = pd.read_csv(STUDY / "expected.csv")
    assert len(table) == len(FIGURE["PLANTED_SHAPES"]) * 3 * 2 * 2
    false = table[table["shape"].isin(["gaussian", "gabor", "noise"])]
    assert false["called"].max() <= 0.05
