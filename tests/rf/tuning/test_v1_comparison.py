import json

import numpy as np
import torch

from deepsal.models import build_backbone
from deepsal.rf import v1
from deepsal.rf.tuning.macaque_v1 import CELL_HISTOGRAMS, v1_similarity
from tests.conftest import backbone
from tests.rf.tuning.support import SMALL


def test_layers_are_compared_by_the_units_that_respond_and_are_centred() -> None:
    network, names = backbone(), ["conv2", "conv4"]
    some = v1(network, names, SMALL, all_units=False, surround=False)
    everyone = v1(network, names, SMALL, surround=False)
    for name in names:
        tuning = some[name].tuning
        assert np.array_equal(some[name].compared, tuning.responsive & tuning.centred)
        assert np.array_equal(everyone[name].compared, tuning.responsive)
        assert set(some[name].similarity) == set(CELL_HISTOGRAMS)
        values = everyone[name].tuning.index["ssi"][everyone[name].compared]
        assert everyone[name].similarity["ssi"] == v1_similarity(values, "ssi")
        plain = json.loads(json.dumps(everyone[name].as_json()))
        assert plain["compared"] == tuning.responsive.sum() > 0
        assert sum(plain["counts"]["ssi"]) == np.isfinite(values).sum()
        assert plain["units"] == network.channels[name]


def test_a_transformer_is_measured_on_whole_images() -> None:
    torch.manual_seed(0)
    network = build_backbone("test_vit", None)
    layers = v1(network, ["conv2", "conv5"], SMALL)
    for name, layer in layers.items():
        index = layer.tuning.index
        assert len(index["ssi"]) == network.channels[name]
        assert layer.tuning.responsive.mean() > 0.5
        assert np.isfinite(index["iso_suppression"]).mean() > 0.5
        assert np.isfinite(layer.similarity["ssi"].estimate)
