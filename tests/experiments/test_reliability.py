import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from deepsal.rf import map_receptive_fields, reverse_correlation

ROOT = Path(__file__).parents[2]
STUDY = ROOT / "experiments" / "reliability"


def test_gradients_are_sampled_as_reverse_correlation_sees_them() -> None:
    torch.manual_seed(0)
    network = nn.Conv2d(3, 2, 9, stride=2, padding=1, bias=False)
    noisy = nn.Sequential(network)
    fields = reverse_correlation(
        noisy, ["0"], (48, 64), limits=None, target=0.999, pairs=512, cells={"0": [4]}
    )["0"]
    images = torch.full((1, 3, 48, 64), 0.5)
    patches = np.array([[[0, 8, 8]]] * 2)
    exact = map_receptive_fields(noisy, "0", images, patches, range(2)).field
    script = runpy.run_path(str(STUDY / "measure.py"))
    expected = script["sample_like"](exact, fields)
    assert expected.shape == fields.field.shape
    assert np.abs(fields.field - expected).max() < 0.1 * np.abs(expected).max()
    gain = script["relative_gain"](np.stack([expected] * 8), fields.blocks)
    np.testing.assert_allclose(gain, 1, atol=0.03)


def test_published_tables_show_what_the_page_says() -> None:
    equal = pd.read_csv(STUDY / "amplitude.csv")
    assert (equal.loc[equal["amplitude"] == 0.01, "corrected"] > 0.97).all()
    reach = pd.read_csv(STUDY / "reach.csv")
    assert (reach["stopped"] == "target").all()
    assert (reach["reliability"] >= reach["target"]).all()
