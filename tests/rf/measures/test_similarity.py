from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models import resnet18

from deepsal.rf.measures.similarity import (
    debiased_cka,
    field_correlation,
    field_cosine,
    field_gain,
    field_shift,
    linear_cka,
    sample_activations,
    weight_displacement,
)
from tests.conftest import NoTrace


def noise(*shape: int, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=shape)


def surround(row: float, column: float, side: int = 61) -> NDArray[np.float32]:
    rows, columns = (np.arange(side) - at for at in (row, column))
    squares = rows[:, None] ** 2 + columns**2
    field = np.exp(-squares / 18) - 0.2 * np.exp(-squares / 72)
    return np.broadcast_to(field, (1, 3, side, side)).astype(np.float32)


@pytest.mark.parametrize("colours", [(), (3,)])
def test_planted_gains_are_recovered_with_their_sign(colours: tuple[int, ...]) -> None:
    before = noise(3, *colours, 9, 9)
    planted = np.array([2.0, 0.1, -1.5])
    after = before * planted.reshape(-1, *[1] * (before.ndim - 1))
    assert field_gain(before, after) == pytest.approx(planted)
    assert field_cosine(before, after) == pytest.approx([1, 1, -1])


def test_the_gain_is_the_best_and_the_cosine_tells_what_it_leaves() -> None:
    before, after = noise(2, 3, 5, 5), noise(2, 3, 5, 5, seed=1)
    g = field_gain(before, after)[:, None, None, None]
    left = ((after - g * before) ** 2).sum((1, 2, 3))
    for other in (0.99 * g, 1.01 * g):
        assert (((after - other * before) ** 2).sum((1, 2, 3)) > left).all()
    explained = 1 - left / (after**2).sum((1, 2, 3))
    assert field_cosine(before, after) ** 2 == pytest.approx(explained)


def test_the_cosine_sees_a_changed_net_response() -> None:
    before = np.array([1.0, -1, 1, -1]).reshape(1, 1, 2, 2).repeat(3, 1)
    assert field_cosine(before, before + 1) == pytest.approx(1 / np.sqrt(2))


def test_correlation_ignores_gain_and_sees_a_sign_change() -> None:
    field = np.random.default_rng(0).normal(size=(3, 3, 9, 9)).astype(np.float32)
    gains = np.array([2.0, 0.1, -1.0], dtype=np.float32)[:, None, None, None]
    assert field_correlation(field, gains * field) == pytest.approx([1, 1, -1])
    other = np.random.default_rng(1).normal(size=(3, 3, 9, 9)).astype(np.float32)
    assert (np.abs(field_correlation(field, other)) < 0.3).all()


@pytest.mark.parametrize(
    ("row", "column", "within"), [(35, 23, 1e-3), (30, 30, 1e-6), (33.4, 28.75, 0.05)]
)
def test_a_planted_shift_is_recovered(row: float, column: float, within: float) -> None:
    moved = field_shift(surround(30, 30), 3 * surround(row, column))
    assert moved == pytest.approx(np.array([[row - 30, column - 30]]), abs=within)


def test_a_missing_or_empty_field_has_no_change() -> None:
    before = noise(3, 3, 9, 9)
    after = before.copy()
    before[0], after[1] = 0, np.nan
    assert np.isfinite(field_gain(before, after)).tolist() == [False, False, True]
    assert np.isfinite(field_cosine(before, after)).tolist() == [False, False, True]
    assert np.isfinite(field_correlation(before, after)).tolist() == [False, False, True]
    assert np.isfinite(field_shift(before, after)).all(1).tolist() == [False, False, True]
    assert field_shift(before[:0], after[:0]).shape == (0, 2)


@pytest.mark.parametrize("samples", [200, 12])  # more than features, and fewer
def test_cka_obeys_its_laws(samples: int) -> None:
    x, y = noise(samples, 20), noise(samples, 30, seed=1)
    rotation = np.linalg.qr(noise(20, 20, seed=2))[0]
    assert linear_cka(x, x) == pytest.approx(1)
    assert linear_cka(x, 7 * x @ rotation + 5) == pytest.approx(1)
    assert (
        linear_cka(-3 * x @ rotation, y)
        == pytest.approx(linear_cka(x, y))
        == pytest.approx(linear_cka(y, x))
    )
    assert 0 < linear_cka(x, y) < 1
    stretched = x * np.array([100.0] + [1.0] * 19)  # an invertible map that is no rotation
    assert linear_cka(x, stretched) < 0.9


@pytest.mark.parametrize(("n", "p", "q"), [(40, 6, 9), (8, 30, 20), (10, 3, 80)])
def test_cka_is_the_same_from_features_and_from_samples(n: int, p: int, q: int) -> None:
    x, y = noise(n, p), noise(n, q, seed=1)
    a, b = x - x.mean(0), y - y.mean(0)
    features = (b.T @ a).ravel() @ (b.T @ a).ravel()
    features /= np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b)
    centring = np.eye(n) - 1 / n
    k, m = (centring @ z @ z.T @ centring for z in (x, y))
    samples = np.trace(k @ m) / np.sqrt(np.trace(k @ k) * np.trace(m @ m))
    assert linear_cka(x, y) == pytest.approx(features) == pytest.approx(samples)


def test_unrelated_representations_hardly_align() -> None:
    assert linear_cka(noise(4000, 5), noise(4000, 5, seed=1)) < 0.01


def test_cka_of_too_little_is_nan() -> None:
    x = noise(9, 4)
    for y in (np.full((9, 4), 0.1), np.where(x > 1, np.nan, x)):
        assert np.isnan(linear_cka(x, y))
    assert np.isnan(linear_cka(x[:2], x[:2]))


def test_activations_are_the_units_at_the_centres_of_cells() -> None:
    network = nn.Sequential(nn.Identity(), nn.AvgPool2d(4))
    images = torch.arange(3 * 3 * 12 * 8.0).reshape(3, 3, 12, 8)
    samples = sample_activations(network, ["0", "1"], images, grid=4, batch=2)
    expected = images[:, :, [1, 4, 7, 10]][..., [1, 3, 5, 7]].permute(0, 2, 3, 1)
    assert np.array_equal(samples["0"], expected.reshape(-1, 3).numpy())
    assert samples["1"].shape == (3 * 3 * 2, 3)  # all of a map of 3 × 2


def test_activations_are_read_before_the_next_layer_works_in_place() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True))
    samples = sample_activations(network, ["0", "1"], torch.randn(2, 3, 9, 9))
    assert (samples["0"] < 0).any()
    assert np.array_equal(np.maximum(samples["0"], 0), samples["1"])


def test_reading_and_comparing_leave_the_network_as_it_was(leaves_no_trace: NoTrace) -> None:
    network = resnet18(weights=None).train()
    with leaves_no_trace(network):
        before = sample_activations(network, ["layer1", "layer4"], torch.randn(2, 3, 64, 64))
    assert [linear_cka(x, x) for x in before.values()] == pytest.approx([1, 1])


FIELD, IMAGES = np.zeros((1, 3, 4, 4)), torch.zeros(1, 3, 8, 8)
NETWORK = nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: field_gain(FIELD, FIELD[..., 1:]), "of the same units"),
        (lambda: field_shift(FIELD, FIELD[..., 1:]), "of the same units"),
        (lambda: field_cosine(FIELD[0, 0], FIELD[0, 0]), r"must be fields \(U, 3, h, w\)"),
        (lambda: linear_cka(np.zeros((4, 2)), np.zeros((5, 2))), "samples alike"),
        (lambda: sample_activations(NETWORK, ["7"], IMAGES), "no layer '7'"),
        (lambda: sample_activations(NETWORK, ["2"], IMAGES), r"samples need \(B, C, h, w\)"),
        (
            lambda: sample_activations(NETWORK, ["0"], IMAGES, grid=0),
            "grid and batch must be 1 or more",
        ),
    ],
)
def test_bad_input_is_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_a_layer_that_does_not_run_is_named() -> None:
    network = nn.Sequential(nn.Conv2d(3, 2, 3))
    network[0].add_module("unused", nn.Conv2d(3, 2, 3))
    with pytest.raises(ValueError, match=r"does not run through \['0.unused'\]"):
        sample_activations(network, ["0", "0.unused"], IMAGES)


def test_a_planted_displacement_is_that_of_its_layer_alone() -> None:
    before = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))
    after = {n: t.clone() for n, t in before.state_dict().items()}
    weight = after["2.weight"]
    step = torch.randn(weight.shape)
    after["2.weight"] = weight + 0.25 * step / step.norm() * weight.norm()
    after["1.running_mean"] += 100
    after["2.bias"] += 100
    assert weight_displacement(before, after, ["0", "2"]) == pytest.approx({"0": 0, "2": 0.25})
    with torch.no_grad():
        before[0].weight.zero_()  # type: ignore[operator]
    assert np.isnan(weight_displacement(before, after, ["0"])["0"])


def test_a_stage_counts_all_layers_below_it_and_no_namesake() -> None:
    before = {"conv1.a.weight": torch.full((1, 4), 3.0), "conv1.b.weight": torch.full((1, 4), 4.0)}
    after = {name: weight + 1 for name, weight in before.items()}
    extra = {"conv10.weight": torch.ones(1, 1)}
    expected = np.sqrt(8) / 10
    displacement = weight_displacement(before | extra, after | extra, ["conv1"])
    assert displacement == pytest.approx({"conv1": expected})


def test_weights_that_do_not_match_are_named() -> None:
    network = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU())
    with pytest.raises(ValueError, match="no weights below '1'"):
        weight_displacement(network, network, ["1"])
    others: list[dict[str, Tensor]] = [{}, {"0.weight": torch.ones(2, 3, 5, 5)}]
    for other in others:
        with pytest.raises(ValueError, match=r"differ in shape .*0.weight.*\(2, 3, 3, 3\)"):
            weight_displacement(network, other, ["0"])


def test_debiased_alignment_is_that_of_unrelated_features_at_any_number_of_samples() -> None:
    random = np.random.default_rng(0)
    few = [debiased_cka(*random.normal(size=(2, 30, 60))) for _ in range(40)]
    assert abs(np.mean(few)) < 0.02
    x = random.normal(size=(500, 5))
    y = x + 0.5 * random.normal(size=x.shape)
    assert debiased_cka(x, y) == pytest.approx(linear_cka(x, y), abs=0.01)
    assert debiased_cka(x, -3 * x[:, ::-1] + 2) == pytest.approx(1)
    assert np.isnan(debiased_cka(x, np.ones_like(x)))
    assert np.isnan(debiased_cka(x[:3], y[:3]))
    with pytest.raises(ValueError, match="samples alike"):
        debiased_cka(x, y[:9])
