import numpy as np
import pytest
import torch

from deepsal.rf.geometry import FieldGeometry
from deepsal.rf.measures.summary import field_measures
from tests.conftest import difference_of_gaussians


def test_a_planted_surround_is_measured_and_a_blob_is_not() -> None:
    at = torch.arange(41) - 20.0
    blob = torch.exp(-(at[:, None].square() + at.square()) / 18)
    kernels = torch.stack([difference_of_gaussians(41, 0.9), blob / blob.sum()])
    shown = kernels[:, None].expand(-1, 3, -1, -1).numpy().astype(np.float32)
    noise = np.random.default_rng(0).normal(0, 1e-3, (2, *shown.shape)).astype(np.float32)
    measures = field_measures(shown, FieldGeometry((41, 41), (1, 1), (20, 20)), shown + noise)
    assert measures["centre_surround"].tolist() == [1, 0]
    assert measures["csi"][0] > 0.6 > 0.1 > measures["csi"][1]
    assert measures["k"][0] == pytest.approx(0.9, abs=0.05)


def test_a_unit_without_a_field_has_no_numbers() -> None:
    gone = np.full((1, 3, 9, 9), np.nan, np.float32)
    measures = field_measures(gone, FieldGeometry((9, 9), (1, 1), (4, 4)))
    assert all(np.isnan(values).all() for values in measures.values())
