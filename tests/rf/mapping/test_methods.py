from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import (
    NeuronDeconvolution,
    NeuronGradient,
    NeuronGuidedBackprop,
    NeuronIntegratedGradients,
    Occlusion,
)
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models import resnet18

from deepsal.rf.geometry import measure_geometry
from deepsal.rf.hooks import temporary_eval_mode
from deepsal.rf.mapping.engine.windowed_gradient import Box
from deepsal.rf.mapping.gradient_fields import ReceptiveFields, map_receptive_fields
from deepsal.rf.mapping.methods import FIELD_METHODS, OCCLUDERS_PER_SIDE
from tests.conftest import arrays_equal, difference_of_gaussians
from tests.rf.mapping.support import crop_for_unit
from tests.rf.support import SIDE, Planted, middle, unsettle

TRUTH = difference_of_gaussians(SIDE, 0.732)
NEGATIVE = 0.538
"""Negative mass of TRUTH over its positive mass, as in receptive_fields.md."""


def negative(w: NDArray[Any]) -> float:
    """Negative over positive mass, from ring means, so that noise averages out."""
    at = np.arange(SIDE) - SIDE // 2
    _, ring = np.unique(at[:, None] ** 2 + at**2, return_inverse=True)
    sums = np.bincount(ring.ravel(), w.ravel())
    return float(-sums[sums < 0].sum() / sums[sums > 0].sum())


def top(sign: int = 1) -> Tensor:
    """Sixteen patches that excite the unit: noise and its own field."""
    images = 0.3 * torch.randn(16, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    images[:, :, 17:32, 17:32] += sign * TRUTH / TRUTH.abs().max()
    return images


@cache
def planted(method: str, sign: int = 1) -> NDArray[np.float32]:
    """What a method finds of a planted field, summed over colours and turned to an ON centre."""
    fields = map_receptive_fields(
        Planted(sign * TRUTH[None]),
        "units",
        top(sign),
        middle(1, 16, (24, 24)),
        [0],
        method=method,
        samples=2048 if method == "sta" else 16,
    )
    return np.asarray(sign * fields.field[0].sum(0))


EXACT = [(m, sign, 1e-3) for m in ("gradient", "integrated", "smooth") for sign in (1, -1)]


@pytest.mark.parametrize(("method", "sign", "tolerance"), [*EXACT, ("sta", 1, 0.05)])
def test_evidence_shows_sign_ratio_and_centre(method: str, sign: int, tolerance: float) -> None:
    w = planted(method, sign)
    assert negative(w) == pytest.approx(NEGATIVE, abs=tolerance)
    assert np.abs(w).argmax() == SIDE * SIDE // 2
    assert w[SIDE // 2, SIDE // 2] > 0


def test_guided_backpropagation_shows_less_of_a_surround() -> None:
    assert negative(TRUTH.numpy()) == pytest.approx(NEGATIVE, abs=1e-3)
    assert 0.2 < negative(planted("guided")) < 0.45


def test_integrated_gradients_times_the_image_show_none() -> None:
    network = Planted(TRUTH[None]).eval()
    unit = network.get_submodule("units.1")
    engine = NeuronIntegratedGradients(network, unit)  # Captum's default multiplies
    gradients = [
        engine.attribute(image[None], (0, 24, 24), n_steps=16, attribute_to_neuron_input=True)
        for image in top()
    ]
    assert negative(torch.cat(gradients).mean(0).sum(0)[17:32, 17:32].detach().numpy()) < 0.06


def test_occlusion_shows_none_on_the_patches_that_excite() -> None:
    assert negative(planted("occlusion")) < 0.02


@pytest.mark.parametrize("method", ["absolute_occlusion", "erf"])
def test_a_method_without_sign_cannot_show_one(method: str) -> None:
    assert negative(planted(method)) == 0
    assert planted(method, -1).max() <= 0  # an OFF centre looks like an ON centre


def chain() -> tuple[nn.Sequential, str, nn.Module]:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 6, 5, stride=2, padding=2), nn.ReLU(), nn.BatchNorm2d(6), nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3, padding=1), nn.ReLU(True), nn.Conv2d(8, 4, 3, padding=1), nn.ReLU(),
    )  # fmt: skip
    unsettle(network)
    return network, "7", network[7]


def residual() -> tuple[nn.Module, str, nn.Module]:
    torch.manual_seed(0)
    network = resnet18(weights=None)
    unsettle(network)
    return network, "layer2", network.layer2[1].relu


def occluded(network: nn.Module, rectifier: nn.Module, image: Tensor, unit: Any) -> Tensor:
    def read(images: Tensor) -> Tensor:
        seen: list[Tensor] = []
        hook = rectifier.register_forward_pre_hook(lambda _m, x: seen.append(x[0].clone()))
        network(images)
        hook.remove()
        return seen[-1][:, unit[0], unit[1], unit[2]]

    side = min(image.shape[2:]) // OCCLUDERS_PER_SIDE
    steps = (3, max(1, side // 2), max(1, side // 2))
    grey = image.mean((2, 3), keepdim=True).expand_as(image)
    return torch.as_tensor(Occlusion(read).attribute(image, (3, side, side), steps, grey))


def captums(engine: Any, **options: Any) -> Callable[..., Tensor]:
    def attribute(network: nn.Module, rectifier: nn.Module, image: Tensor, unit: Any) -> Tensor:
        if engine is NeuronIntegratedGradients:
            options["baselines"] = image.mean((2, 3), keepdim=True).expand_as(image).clone()
            attribution = engine(network, rectifier, multiply_by_inputs=False)
        else:
            attribution = engine(network, rectifier)
        image = image.clone().requires_grad_()
        gradient = attribution.attribute(image, unit, attribute_to_neuron_input=True, **options)
        return torch.as_tensor(gradient.detach())

    return attribute


LOOPS: dict[str, Callable[..., Tensor]] = {
    "gradient": captums(NeuronGradient),
    "guided": captums(NeuronGuidedBackprop),
    "deconv": captums(NeuronDeconvolution),
    "integrated": captums(NeuronIntegratedGradients, n_steps=6),
    "occlusion": occluded,
    "erf": lambda *args: captums(NeuronGradient)(*args).abs(),
}


BUILDS = {"chain": chain, "residual": residual}
CASES: list[tuple[str, str, int | None]] = [(method, "chain", 15) for method in LOOPS]
CASES += [(method, "chain", None) for method in LOOPS if method != "occlusion"]
CASES += [(method, "residual", 15) for method in LOOPS if method not in ("occlusion", "erf")]


@pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU activations")
@pytest.mark.parametrize(("method", "build", "window"), CASES)
def test_a_method_equals_captums_asked_one_by_one(
    method: str, build: str, window: int | None
) -> None:
    network, name, rectifier = BUILDS[build]()
    images, geometry = torch.rand(2, 3, 64, 96), measure_geometry(network, name)
    where = np.array([[[0, 4, 5], [1, 4, 5]], [[0, 4, 5], [1, 7, 0]], [[0, 0, 11], [0, 4, 6]]])
    fields = map_receptive_fields(
        network, name, images, where, [0, 1, 3], geometry, window, method, samples=6
    )
    expected = np.zeros_like(fields.field)
    with temporary_eval_mode(network):
        for u, unit in enumerate([0, 1, 3]):
            for k, (i, *at) in enumerate(where[u].tolist()):
                box, position = crop_for_unit(geometry, (64, 96), (at[0], at[1]))
                piece = box.cut(images[i : i + 1])
                answer = LOOPS[method](network, rectifier, piece, (unit, *position))[0]
                expected[u] += cut(answer.numpy(), box, fields, u, k) / 2
    assert np.abs(expected).max() > 0
    assert np.abs(fields.field - expected).max() <= 1e-5 * np.abs(expected).max()


def cut(value: NDArray[Any], box: Box, fields: ReceptiveFields, u: int, k: int) -> NDArray[Any]:
    sides = fields.field.shape[2:]
    middle = fields.centre[u, k] - (np.array(sides) - 1) / 2 - [box.top, box.left]
    top, left = (200 + round(float(side)) for side in middle)
    padded = np.pad(value, ((0, 0), (200, 200), (200, 200)))
    return padded[:, top : top + sides[0], left : left + sides[1]]


def test_averages_over_noise_are_near_the_gradient_of_a_network_that_is_nearly_linear() -> None:
    network, name, _ = chain()
    network[1], network[5] = nn.Softplus(0.5), nn.Softplus(0.5)
    network[3] = nn.AvgPool2d(2)
    images = torch.rand(4, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    gradient, smooth, sta = (
        map_receptive_fields(
            network, name, images, middle(2, 4, (5, 5)), [0, 1], None, None, method, samples
        )
        for method, samples in (("gradient", 1), ("smooth", 16), ("sta", 4096))
    )
    assert np.abs(smooth.field - gradient.field).max() < 0.02 * np.abs(gradient.field).max()
    assert np.corrcoef(sta.field.ravel(), gradient.field.ravel())[0, 1] > 0.93
    slope = (sta.field * gradient.field).sum() / (gradient.field**2).sum()
    assert slope == pytest.approx(1, abs=0.03)
    assert np.allclose(sta.activation, gradient.activation, atol=1e-6)


def test_absolute_occlusion_is_occlusion_without_its_sign() -> None:
    network, image = chain()[0], torch.rand(1, 3, 40, 40)
    signed, absolute = (
        map_receptive_fields(network, "7", image, middle(1, 1, (5, 5)), [0], method=method).field
        for method in ("occlusion", "absolute_occlusion")
    )
    assert signed.min() < 0
    assert arrays_equal(absolute, np.abs(signed))


def test_each_patch_is_blurred_by_noise_of_its_own_range() -> None:
    network, name, _ = chain()
    images = torch.stack([torch.full((3, 40, 40), 0.5), 100 * torch.rand(3, 40, 40)])
    patches = np.array([[[0, 5, 5]], [[1, 5, 5]]])
    exact, blurred = (
        map_receptive_fields(network, name, images, patches, [0, 1], method=m).field
        for m in ("gradient", "smooth")
    )
    assert np.allclose(blurred[0], exact[0], atol=1e-6)  # a blank patch has none
    assert not np.allclose(blurred[1], exact[1], atol=1e-6)


@pytest.mark.parametrize("method", FIELD_METHODS)
def test_equal_calls_give_equal_fields_and_draw_nothing(method: str) -> None:
    network, name, _ = chain()
    images, patches = torch.rand(2, 3, 40, 40), middle(2, 2, (5, 5))
    torch.manual_seed(1)
    first = map_receptive_fields(network, name, images, patches, [0, 1], method=method)
    drawn = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.rand(1))
    second = map_receptive_fields(network, name, images, patches, [0, 1], method=method)
    assert arrays_equal(first.field, second.field)


@pytest.mark.parametrize("method", ["guided", "deconv"])
@pytest.mark.parametrize("rectifier", [nn.ReLU6, nn.GELU, nn.SiLU, nn.PReLU, nn.Softplus])
def test_rectifiers_that_captum_cannot_override_are_refused(
    method: str, rectifier: type[nn.Module]
) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), rectifier(), nn.Conv2d(4, 4, 1))
    images, patches = torch.rand(1, 3, 16, 16), middle(1, 1, (8, 8))
    with pytest.raises(ValueError, match=r"nn.ReLU module.*use method=gradient"):
        map_receptive_fields(network, "2", images, patches, [0], method=method)
    assert map_receptive_fields(network, "0", images, patches, [0], method=method).count == [
        1
    ]  # before it
