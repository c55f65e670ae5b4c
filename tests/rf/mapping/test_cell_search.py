from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from deepsal.rf.mapping.reverse_correlation import reverse_correlation
from tests.conftest import backbone
from tests.rf.mapping.support import small


def test_a_repeated_measurement_takes_the_same_cells_and_pairs() -> None:
    first = small(target=0.9)
    again = small(target=0.5, pairs=8, repeat=first)
    for name, found in again.items():
        assert (found.cell, found.pairs) == (first[name].cell, first[name].pairs)
        assert np.allclose(found.blocks, first[name].blocks, rtol=1e-4, atol=1e-6)


def test_a_layer_stops_at_the_target() -> None:
    found = small(target=0.9, pairs=512)
    for fields in found.values():
        assert fields.stopped == "target"
        assert fields.median >= 0.9
        assert fields.pairs < 512


def test_a_layer_stops_at_the_budget_of_pairs_or_seconds() -> None:
    for budget in ({"pairs": 20}, {"seconds": 0.0}):
        for fields in small(target=0.999999, **budget).values():
            assert fields.stopped == "budget"
            assert fields.pairs == 16 if "pairs" in budget else 8 <= fields.pairs <= 16


def test_the_finest_cell_that_the_budget_allows_is_taken() -> None:
    network = backbone()
    options: dict[str, Any] = {"amplitude": 0.02, "cells": {"conv3": [1, 4]}, "target": 0.95}
    few = reverse_correlation(network, ["conv3"], (64, 96), pairs=64, **options)["conv3"]
    many = reverse_correlation(network, ["conv3"], (64, 96), pairs=100_000, **options)["conv3"]
    assert (few.cell, many.cell) == (4, 1)


class Silent(nn.Module):
    """A second layer that gives zero for any input, and one unit that is dead in the first."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.first.weight.data[2] = 0
        self.second = nn.Conv2d(4, 4, 3)
        nn.init.zeros_(self.second.weight)

    def forward(self, image: Tensor) -> Tensor:
        return torch.as_tensor(self.second(self.first(image)))


def test_a_silent_stage_and_a_silent_unit_say_so() -> None:
    found = reverse_correlation(Silent(), ["first", "second"], (32, 32))
    assert found["second"].stopped == "silent"
    assert not found["second"].field.any()
    assert np.isnan(found["second"].reliability).all()
    assert np.isnan(found["second"].median)
    assert found["first"].stopped == "target"
    assert np.flatnonzero(np.isnan(found["first"].reliability)).tolist() == [2]


WRONG: Sequence[tuple[dict[str, Any], str]] = [
    ({"pairs": 7}, "pairs=7 is too small: reliability needs 8 blocks"),
    ({"amplitude": 1.0}, "amplitude 1.0 saturates: clipping to"),
    ({"target": 1.0}, "target=1.0 must lie between 0 and 1"),
    ({"positions": "some"}, "no positions 'some'; the choices are"),
    ({"background": torch.rand(4, 3, 64, 64)}, "images must be"),
    ({"background": torch.rand(0, 3, 64, 96)}, "N at least 1"),
    ({"cells": {"conv9": [1]}}, "conv9"),
    ({"cells": {"conv1": []}}, "cells are sides in pixels"),
]


@pytest.mark.parametrize(("options", "message"), WRONG)
def test_a_wrong_option_is_an_error_that_names_it(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**options)
