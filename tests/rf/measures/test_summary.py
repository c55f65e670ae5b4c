from functools import partial

import numpy as np
import pytest
import torch

from deepsal.rf.geometry import FieldGeometry
from deepsal.rf.measures.summary import field_change_measures, field_measures, measures_with_errors
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


def test_errors_of_measures_are_the_scatter_of_repeated_measurements() -> None:
    rng, geometry = np.random.default_rng(0), FieldGeometry((41, 41), (1, 1), (20, 20))
    field = 100 * difference_of_gaussians(41, 0.6).numpy()
    noise = rng.normal(0, 0.01 * field.max(), (8, 60, 3, 41, 41))
    blocks = (field + noise).astype(np.float32)
    measures = measures_with_errors(blocks, partial(field_measures, geometry=geometry))
    for name in ("k", "csi", "extent", "anisotropy", "surround"):
        scatter, stated = measures[name].std(), np.median(measures[f"{name}_error"])
        assert 0.6 * scatter < stated < 1.7 * scatter, name
    plain = field_measures(np.repeat(field[None, None], 3, 1).astype(np.float32), geometry)
    corrected = measures["csi"] - measures["csi_bias"]
    wrong, less = (np.abs(of.mean() - plain["csi"][0]) for of in (measures["csi"], corrected))
    assert less < 0.7 * wrong, "the bias of sums of |w| is halved"
    assert (measures["polarity"] == 1).all()
    assert (measures["polarity_error"] == 0).all()


def test_a_measure_that_one_block_decides_has_no_error() -> None:
    blocks = np.ones((8, 1, 3, 5, 5), np.float32)
    measures = measures_with_errors(
        blocks, lambda field: {"k": np.where(np.arange(len(field)) == 3, np.nan, 1.0)}
    )
    assert measures["k"].tolist() == [1]
    assert np.isnan(measures["k_error"]).all()
    assert np.isnan(measures["k_bias"]).all()


def test_the_error_of_a_change_is_the_scatter_of_repeated_measurements() -> None:
    rng, geometry = np.random.default_rng(0), FieldGeometry((21, 21), (1, 1), (10, 10))
    start, end = (difference_of_gaussians(21, k).numpy() for k in (0.9, 0.3))
    noise = 0.05 * start.max()
    blocks, start_blocks = (
        (of + rng.normal(0, noise, (4, 80, 3, 21, 21))).astype(np.float32) for of in (end, start)
    )
    fields = blocks.mean(0), start_blocks.mean(0)
    measures = field_change_measures(*fields, geometry, blocks, start_blocks)
    plain = field_change_measures(*fields, geometry)
    for name in ("correlation", "k", "csi", "anisotropy"):
        scatter, stated = measures[name].std(), np.median(measures[f"{name}_error"])
        assert 0.5 * scatter < stated < 1.8 * scatter, name
        assert np.array_equal(measures[name], plain[name])
        assert f"{name}_error" not in plain
    assert "correlation_error" not in field_change_measures(*fields, geometry, blocks)
