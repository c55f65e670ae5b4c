"""Every score equals pysaliency 0.2.22's on the hundred maps; `make reference` made the table."""

import math
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import Tensor

from deepsal.metrics.functional import auc, cc, information_gain, kl, nss, sauc, sim
from tests.reference.maps import Case, Image, counts, osie, synthetic

TABLE = pd.read_csv(Path(__file__).with_name("pysaliency.csv"), index_col="map")
TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4}
RANKED = {"auc": "auc32", "sauc": "sauc32"}
"""What float32 is compared with: the library's score of the same log density in float32."""


def ours(case: Case, dtype: torch.dtype) -> dict[str, float]:
    def batch(image: Image) -> Tensor:
        return torch.from_numpy(image).to(dtype)[None]

    size = case.prediction.shape[0], case.prediction.shape[1]
    p, truth = torch.from_numpy(case.prediction).log().to(dtype)[None], batch(case.truth)
    here, there = (batch(counts(points, size)) for points in (case.points, case.others))
    found = {
        "auc": auc(p, here),
        "sauc": sauc(p, here, there),
        "nss": nss(p, here),
        "cc": cc(p, truth),
        "sim": sim(p, truth),
        "kl": kl(p, truth),
        "ig": information_gain(p, here, torch.from_numpy(case.baseline).log().to(dtype)[None]),
    }
    assert {value.dtype for value in found.values()} == {dtype}
    return {score: value.item() for score, value in found.items()}


def differences(cases: Iterable[Case], dtype: torch.dtype) -> Iterator[tuple[str, str, float]]:
    for case in cases:
        for score, value in ours(case, dtype).items():
            column = RANKED.get(score, score) if dtype == torch.float32 else score
            expected = float(str(TABLE.loc[case.name, column]))
            apart = 0.0 if value == expected else abs(value - expected)
            if not apart <= TOLERANCE[dtype]:
                yield case.name, score, apart


def test_the_table_holds_a_hundred_maps_and_values_worth_comparing() -> None:
    assert len(TABLE) == 100
    assert TABLE.drop(columns="ig").notna().all().all()
    assert (TABLE[TABLE.index.str.startswith("random")].std() > 0.01).all()
    assert math.isinf(TABLE["ig"].min())  # a fixation on a pixel that was ruled out


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_random_sparse_constant_and_tied_maps(dtype: torch.dtype) -> None:
    assert not [*differences(synthetic(), dtype)]


@pytest.mark.data
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_real_maps(dtype: torch.dtype, data_dir: Path) -> None:
    cases = [*chain(osie(data_dir))]
    assert len(cases) == 52
    assert not [*differences(cases, dtype)]
